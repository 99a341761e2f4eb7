// SPDX-License-Identifier: Apache-2.0
//! Tokenizers read from tokenizer.json.

use std::sync::OnceLock;

use tokenizers::tokenizer::{
    EncodeInput, Encoding, Model, NormalizedString, Normalizer, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
};

use crate::abi::{guarded, shielded, ErrorOut, Failure, Outcome, OwnedText, View};

/// What of a text is looked for among the added tokens; the values of suture_text_parsing.
const PARSE_ALL: i32 = 1;
const PARSE_NOTHING: i32 = 2;

pub struct TokenizerHandle {
    parsing_special: Tokenizer,
    /// The same tokenizer with special tokens' spellings treated as plain text; made when first asked for.
    plain: OnceLock<Tokenizer>,
}

#[repr(C)]
pub struct Encodings {
    count: usize,
    starts: *const usize,
    ids: *const i32,
    begins: *const i64,
    ends: *const i64,
    _owner: Owner,
}

/// Keeps alive what the pointers of Encodings point at; not visible in C.
struct Owner {
    _starts: Vec<usize>,
    _ids: Vec<i32>,
    _begins: Vec<i64>,
    _ends: Vec<i64>,
}

impl TokenizerHandle {
    fn from_json(json: &str) -> Outcome<Self> {
        let mut tokenizer = Tokenizer::from_bytes(json.as_bytes()).map_err(|e| Failure::new(e.to_string()))?;
        tokenizer.with_truncation(None).map_err(|e| Failure::new(e.to_string()))?;
        tokenizer.with_padding(None);
        Ok(TokenizerHandle { parsing_special: tokenizer, plain: OnceLock::new() })
    }

    fn select(&self, parse_special: bool) -> &Tokenizer {
        if parse_special {
            return &self.parsing_special;
        }
        self.plain.get_or_init(|| {
            let mut tokenizer = self.parsing_special.clone();
            tokenizer.set_encode_special_tokens(true);
            tokenizer
        })
    }

    /// Encodes with the model alone: the spelling of every added token is plain text.
    fn encode_bare(&self, text: &str, add_special: bool) -> tokenizers::Result<Encoding> {
        let tokenizer = &self.parsing_special;
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = tokenizer.get_normalizer() {
            normalizer.normalize(&mut normalized)?;
        }
        let mut pieces = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| tokenizer.get_model().tokenize(piece.get()))?;
        tokenizer.post_process(pieces.into_encoding(None, 0, OffsetType::Char)?, None, add_special)
    }

    fn encode(&self, texts: &[&str], add_special: bool, parsing: i32) -> Outcome<Encodings> {
        if parsing == PARSE_NOTHING {
            let encoded: tokenizers::Result<Vec<Encoding>> =
                texts.iter().map(|text| self.encode_bare(text, add_special)).collect();
            return Ok(Encodings::new(&encoded.map_err(|e| Failure::new(e.to_string()))?));
        }
        let tokenizer = self.select(parsing == PARSE_ALL);
        let encoded = if texts.len() == 1 {
            tokenizer.encode_char_offsets(texts[0], add_special).map(|encoding| vec![encoding])
        } else {
            let inputs: Vec<EncodeInput> = texts.iter().map(|text| EncodeInput::from(*text)).collect();
            tokenizer.encode_batch_char_offsets(inputs, add_special)
        };
        Ok(Encodings::new(&encoded.map_err(|e| Failure::new(e.to_string()))?))
    }

    fn added_tokens(&self) -> String {
        let added = self.parsing_special.get_added_vocabulary().get_added_tokens_decoder();
        let mut ids: Vec<_> = added.keys().copied().collect();
        ids.sort_unstable();
        let list: Vec<_> = ids
            .iter()
            .map(|id| serde_json::json!({"id": id, "content": added[id].content, "special": added[id].special}))
            .collect();
        serde_json::Value::from(list).to_string()
    }

    fn is_special(&self, id: u32) -> bool {
        self.parsing_special.get_added_vocabulary().get_added_tokens_decoder().get(&id).is_some_and(|t| t.special)
    }
}

impl Encodings {
    fn new(encoded: &[Encoding]) -> Self {
        let total: usize = encoded.iter().map(|e| e.get_ids().len()).sum();
        let mut starts = Vec::with_capacity(encoded.len() + 1);
        let mut ids = Vec::with_capacity(total);
        let mut begins = Vec::with_capacity(total);
        let mut ends = Vec::with_capacity(total);
        starts.push(0);
        for encoding in encoded {
            ids.extend(encoding.get_ids().iter().map(|id| *id as i32));
            begins.extend(encoding.get_offsets().iter().map(|span| span.0 as i64));
            ends.extend(encoding.get_offsets().iter().map(|span| span.1 as i64));
            starts.push(ids.len());
        }
        Encodings {
            count: encoded.len(),
            starts: starts.as_ptr(),
            ids: ids.as_ptr(),
            begins: begins.as_ptr(),
            ends: ends.as_ptr(),
            _owner: Owner { _starts: starts, _ids: ids, _begins: begins, _ends: ends },
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_from_json(json: View, error: *mut ErrorOut) -> *mut TokenizerHandle {
    guarded(error, || TokenizerHandle::from_json(json.text()?).map(Box::new))
        .map_or(std::ptr::null_mut(), Box::into_raw)
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_free(tokenizer: *mut TokenizerHandle) {
    if !tokenizer.is_null() {
        shielded((), || drop(Box::from_raw(tokenizer)));
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_encode(
    tokenizer: *const TokenizerHandle,
    texts: *const View,
    count: usize,
    add_special_tokens: i32,
    parsing: i32,
    error: *mut ErrorOut,
) -> *mut Encodings {
    guarded(error, || {
        let views = if count == 0 { &[][..] } else { std::slice::from_raw_parts(texts, count) };
        let texts = views.iter().map(|view| view.text()).collect::<Outcome<Vec<&str>>>()?;
        (*tokenizer).encode(&texts, add_special_tokens != 0, parsing).map(Box::new)
    })
    .map_or(std::ptr::null_mut(), Box::into_raw)
}

#[no_mangle]
pub unsafe extern "C" fn suture_encodings_free(encodings: *mut Encodings) {
    if !encodings.is_null() {
        drop(Box::from_raw(encodings));
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_decode(
    tokenizer: *const TokenizerHandle,
    ids: *const i32,
    count: usize,
    skip_special_tokens: i32,
    text: *mut OwnedText,
    error: *mut ErrorOut,
) -> i32 {
    let decoded = guarded(error, || {
        let ids = if count == 0 { &[][..] } else { std::slice::from_raw_parts(ids, count) };
        let ids: Vec<u32> = ids
            .iter()
            .map(|id| u32::try_from(*id).map_err(|_| Failure::new(format!("negative token id {id}"))))
            .collect::<Outcome<_>>()?;
        let tokenizer = &(*tokenizer).parsing_special;
        tokenizer.decode(&ids, skip_special_tokens != 0).map_err(|e| Failure::new(e.to_string()))
    });
    match decoded {
        Some(decoded) => {
            *text = OwnedText::new(decoded);
            0
        }
        None => -1,
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_token_to_id(tokenizer: *const TokenizerHandle, token: View) -> i64 {
    shielded(-1, || {
        let id = token.text().ok().and_then(|token| (*tokenizer).parsing_special.token_to_id(token));
        id.map_or(-1, i64::from)
    })
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_id_to_token(
    tokenizer: *const TokenizerHandle,
    id: i32,
    text: *mut OwnedText,
) -> i32 {
    let token = shielded(None, || u32::try_from(id).ok().and_then(|id| (*tokenizer).parsing_special.id_to_token(id)));
    match token {
        Some(token) => {
            *text = OwnedText::new(token);
            1
        }
        None => 0,
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_added_tokens(
    tokenizer: *const TokenizerHandle,
    text: *mut OwnedText,
    error: *mut ErrorOut,
) -> i32 {
    match guarded(error, || Ok((*tokenizer).added_tokens())) {
        Some(list) => {
            *text = OwnedText::new(list);
            0
        }
        None => -1,
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_vocab_size(tokenizer: *const TokenizerHandle) -> i64 {
    shielded(-1, || (*tokenizer).parsing_special.get_vocab_size(true) as i64)
}

#[no_mangle]
pub unsafe extern "C" fn suture_tokenizer_is_special(tokenizer: *const TokenizerHandle, id: i32) -> i32 {
    shielded(0, || u32::try_from(id).map_or(0, |id| (*tokenizer).is_special(id) as i32))
}
