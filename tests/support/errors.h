// SPDX-License-Identifier: Apache-2.0
// The Error that a call ends in, for tests that check its words and its code.
#pragma once
#include "core/error.h"

namespace suture::test {

template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(Code::kDone, "(no error)");
}

}  // namespace suture::test
