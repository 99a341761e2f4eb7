// SPDX-License-Identifier: Apache-2.0
#include "model/kv_cache.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace suture::model {

KvCache::KvCache(const ModelConfig& config, int64_t rows, int64_t capacity, at::ScalarType dtype, at::Device device)
    : valid_(at::zeros({rows, capacity}, at::kBool)), rows_(rows), capacity_(capacity) {
  const auto options = at::TensorOptions(dtype).device(device);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    keys_.push_back(at::empty({rows, config.kv_heads, capacity, config.head_dim}, options));
    values_.push_back(at::empty({rows, config.kv_heads, capacity, config.head_dim}, options));
  }
}

std::pair<at::Tensor, at::Tensor> KvCache::extend(int64_t layer, const at::Tensor& k, const at::Tensor& v) {
  at::Tensor& keys = keys_[size_t(layer)];
  at::Tensor& values = values_[size_t(layer)];
  const int64_t count = k.size(2), end = length_ + count;
  if (frozen_) return {at::cat({keys.narrow(2, 0, length_), k}, 2), at::cat({values.narrow(2, 0, length_), v}, 2)};
  if (end > capacity_) fail(Code::kBug, "cannot extend a cache of {} slots to {}", capacity_, end);
  keys.narrow(2, length_, count).copy_(k);
  values.narrow(2, length_, count).copy_(v);
  return {keys.narrow(2, 0, end), values.narrow(2, 0, end)};
}

void KvCache::advance(const at::Tensor& valid_BT) {
  if (frozen_) return;
  const int64_t count = valid_BT.size(1);
  valid_.narrow(1, length_, count).copy_(valid_BT);
  all_valid_ = all_valid_ && valid_BT.all().item<bool>();
  length_ += count;
}

void KvCache::keep_rows(const std::vector<int64_t>& rows) {
  const at::Tensor index = at::tensor(rows, at::kLong);
  const at::Tensor there = index.to(keys_[0].device());
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    // Only the filled slots are copied; the rest is room to grow.
    for (at::Tensor* part : {&keys_[layer], &values_[layer]}) {
      at::Tensor next = at::empty({int64_t(rows.size()), part->size(1), capacity_, part->size(3)}, part->options());
      next.narrow(2, 0, length_).copy_(part->narrow(2, 0, length_).index_select(0, there));
      *part = next;
    }
  }
  valid_ = valid_.index_select(0, index);
  rows_ = int64_t(rows.size());
  all_valid_ = length_ == 0 || valid_.narrow(1, 0, length_).all().item<bool>();
}

void KvCache::truncate(int64_t length) {
  length_ = std::min(length, length_);
  all_valid_ = length_ == 0 || valid_.narrow(1, 0, length_).all().item<bool>();
}

KvCache KvCache::share_row(int64_t row, int64_t times) const {
  KvCache view;
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    view.keys_.push_back(keys_[layer].narrow(0, row, 1).narrow(2, 0, length_));
    view.values_.push_back(values_[layer].narrow(0, row, 1).narrow(2, 0, length_));
  }
  view.valid_ = valid_.narrow(0, row, 1).narrow(1, 0, length_);
  view.rows_ = times;
  view.capacity_ = view.length_ = length_;
  view.all_valid_ = length_ == 0 || view.valid_.all().item<bool>();
  view.frozen_ = view.shared_ = true;
  return view;
}

void KvCache::fill_from(const KvCache& prefix) {
  if (length_ != 0 || prefix.rows_ != 1) fail(Code::kBug, "cannot fill a used cache, or from more than one row");
  const int64_t count = prefix.length_;
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    keys_[layer].narrow(2, 0, count).copy_(prefix.keys_[layer].narrow(2, 0, count));
    values_[layer].narrow(2, 0, count).copy_(prefix.values_[layer].narrow(2, 0, count));
  }
  valid_.narrow(1, 0, count).copy_(prefix.valid_.narrow(1, 0, count));
  length_ = count;
  all_valid_ = prefix.all_valid_;
}

uint64_t KvCache::bytes() const {
  uint64_t total = 0;
  for (const at::Tensor& part : keys_) total += 2 * part.nbytes();
  return total;
}

}  // namespace suture::model
