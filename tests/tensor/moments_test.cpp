// SPDX-License-Identifier: Apache-2.0
#include "tensor/moments.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/random.h"

namespace suture::tensor {
namespace {

at::Tensor random_rows(int64_t rows, int64_t width) {
  Stream stream(3, "rows");
  at::Tensor out = at::empty({rows, width}, at::kFloat);
  for (int64_t i = 0; i < out.numel(); ++i) out.data_ptr<float>()[i] = float(stream.uniform() - 0.3);
  return out;
}

TEST(SecondMoment, EqualsTheDoubleProduct) {
  const at::Tensor k = random_rows(3000, 17), exact = k.to(at::kDouble);
  SecondMoment moment(17);
  moment.add(k.narrow(0, 0, 1));
  moment.add(k.narrow(0, 1, 2999));
  EXPECT_EQ(moment.count(), 3000);
  const at::Tensor want = at::mm(exact.t(), exact) / 3000.0;
  // fp32 sums of at most 1,024 products of size below 0.5: error below 1024 · 2^-24 · 0.5 relative to the sum.
  EXPECT_LT((moment.mean_FF() - want).abs().max().item<double>(), 3e-5);
  EXPECT_TRUE(at::equal(moment.mean_FF(), moment.mean_FF().t()));
}

TEST(SecondMoment, IsUncentred) {
  SecondMoment moment(2);
  moment.add(at::tensor({1.0, 2.0, 3.0, 4.0}).view({2, 2}));
  EXPECT_TRUE(at::equal(moment.mean_FF(), at::tensor({5.0, 7.0, 7.0, 10.0}, at::kDouble).view({2, 2})));
}

TEST(SecondMoment, MergeAndStoredStateEqualOneStream) {
  const at::Tensor k = random_rows(10, 4);
  SecondMoment whole(4), first(4), second(4);
  whole.add(k);
  first.add(k.narrow(0, 0, 6));
  second.add(k.narrow(0, 6, 4));
  SecondMoment restored(first.sum_FF().clone(), first.count());
  restored.merge(second);
  EXPECT_EQ(restored.count(), 10);
  // Two fp32 products instead of one: differences of the last fp32 bit.
  EXPECT_LT((restored.mean_FF() - whole.mean_FF()).abs().max().item<double>(), 1e-6);
}

TEST(SecondMoment, RefusesWhatItCannotHold) {
  SecondMoment moment(3);
  EXPECT_THROW(moment.mean_FF(), Error);
  EXPECT_THROW(moment.add(random_rows(2, 4)), Error);
  EXPECT_THROW(moment.merge(SecondMoment(4)), Error);
  EXPECT_THROW(moment.add(at::full({1, 3}, NAN)), Error);
  EXPECT_THROW(SecondMoment(random_rows(2, 2), 1), Error);
  EXPECT_EQ(moment.count(), 0);
}

}  // namespace
}  // namespace suture::tensor
