// SPDX-License-Identifier: Apache-2.0
//! Hugging Face tokenizers and Jinja chat templates behind the C interface of `suture_text_bridge.h`,
//! which states the contract: ownership, errors, threads.

mod abi;
mod json;
mod methods;
mod percent;
mod strftime;
mod template;
mod tokenizer;
