// SPDX-License-Identifier: Apache-2.0
// Keys and values of the tokens seen so far, for every layer and row.
//
// Rows share slots: slot s of every row is filled by the same call. A row shorter than the others has invalid slots in
// front (left padding); a row's valid slots are in the order of its text. Memory: 2·layers·B·capacity·kv_heads·d
// numbers.
#pragma once
#include "model/config.h"

namespace suture::model {

class KvCache {
 public:
  KvCache(const ModelConfig& config, int64_t rows, int64_t capacity, at::ScalarType dtype, at::Device device);

  // Adds the keys and values [B,Hkv,T,d] of one layer behind `length()` and returns all of them [B,Hkv,length+T,d].
  // Does not move length(): advance() does, once a call. A frozen cache stores nothing and stays differentiable.
  std::pair<at::Tensor, at::Tensor> extend(int64_t layer, const at::Tensor& k, const at::Tensor& v);
  void advance(const at::Tensor& valid_BT);  // bool, CPU: which of the T new slots hold a token

  int64_t length() const { return length_; }
  int64_t rows() const { return rows_; }
  int64_t capacity() const { return capacity_; }
  const at::Tensor& valid_BS() const { return valid_; }  // bool [B,capacity] on the CPU; the first length() count
  bool all_valid() const { return all_valid_; }

  void keep_rows(const std::vector<int64_t>& rows);
  void truncate(int64_t length);  // forgets the newest slots
  void set_frozen(bool frozen) { frozen_ = frozen; }
  // One row's slots as seen by `times` variants of that row's next token: nothing is copied and nothing can be added.
  KvCache share_row(int64_t row, int64_t times) const;
  bool shared() const { return shared_; }
  const at::Tensor& keys(int64_t layer) const { return keys_[size_t(layer)]; }
  const at::Tensor& values(int64_t layer) const { return values_[size_t(layer)]; }
  void fill_from(
      const KvCache& prefix);  // a one-row cache becomes the first slots of every row; this one must be empty
  uint64_t bytes() const;

 private:
  KvCache() = default;
  std::vector<at::Tensor> keys_, values_;  // [B,Hkv,capacity,d]
  at::Tensor valid_;
  int64_t rows_ = 0, capacity_ = 0, length_ = 0;
  bool all_valid_ = true, frozen_ = false, shared_ = false;
};

}  // namespace suture::model
