// SPDX-License-Identifier: Apache-2.0
//! The C side of strings and errors, and the wall that panics do not cross.

use std::any::Any;
use std::ffi::{c_char, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};

#[repr(C)]
pub struct ErrorOut {
    message: *mut c_char,
    line: i64,
    refused: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    data: *const u8,
    size: usize,
}

#[repr(C)]
pub struct OwnedText {
    data: *mut u8,
    size: usize,
}

/// What a call reports when it fails.
pub struct Failure {
    pub message: String,
    pub line: i64,
    pub refused: bool,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), line: 0, refused: false }
    }
}

pub type Outcome<T> = Result<T, Failure>;

impl View {
    /// # Safety
    /// `data` must point at `size` readable bytes that outlive the returned slice (or `size` is 0).
    pub unsafe fn text<'a>(self) -> Outcome<&'a str> {
        if self.size == 0 {
            return Ok("");
        }
        std::str::from_utf8(std::slice::from_raw_parts(self.data, self.size))
            .map_err(|e| Failure::new(format!("invalid UTF-8 at byte {}", e.valid_up_to())))
    }
}

impl OwnedText {
    pub fn new(text: String) -> Self {
        let bytes = text.into_bytes().into_boxed_slice();
        let size = bytes.len();
        OwnedText { data: Box::into_raw(bytes) as *mut u8, size }
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic".to_string()
    }
}

/// Runs `body`; a failure or a panic is written to `error` and gives None.
///
/// # Safety
/// `error` must point at a writable ErrorOut.
pub unsafe fn guarded<T>(error: *mut ErrorOut, body: impl FnOnce() -> Outcome<T>) -> Option<T> {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(failure)) => failure,
        Err(payload) => Failure::new(format!("internal: {}", panic_text(payload))),
    };
    let message = CString::new(failure.message.replace('\0', "\\0")).unwrap_or_default();
    *error = ErrorOut { message: message.into_raw(), line: failure.line, refused: failure.refused as i32 };
    None
}

/// Runs a look-up that has no error channel; a panic gives `fallback`.
pub fn shielded<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

#[no_mangle]
pub unsafe extern "C" fn suture_text_error_clear(error: *mut ErrorOut) {
    if error.is_null() {
        return;
    }
    if !(*error).message.is_null() {
        drop(CString::from_raw((*error).message));
    }
    *error = ErrorOut { message: std::ptr::null_mut(), line: 0, refused: 0 };
}

#[no_mangle]
pub unsafe extern "C" fn suture_text_string_free(text: OwnedText) {
    if !text.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.data, text.size)));
    }
}
