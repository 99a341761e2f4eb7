// SPDX-License-Identifier: Apache-2.0
//! Python's `'text' % values`, which minijinja's `%` does not know: the source is rewritten to call a filter.

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::json::{python_repr, python_str};

const FILTER: &str = "percent_format";

/// Rewrites `'literal' % operand` inside tags to `'literal' | percent_format(operand)`; a tuple becomes several
/// arguments. Line numbers stay. Only literals on the left are recognised: for names, `%` is the remainder.
pub fn with_percent_filters(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = if rest.starts_with("{#") {
            rest.find("#}").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("{{") || rest.starts_with("{%") {
            let length = tag_length(rest);
            if is_raw(&rest[..length]) {
                raw_length(rest, length)
            } else {
                out.push_str(&rewritten(&rest[..length]));
                rest = &rest[length..];
                continue;
            }
        } else {
            1
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn is_raw(tag: &str) -> bool {
    tag.starts_with("{%") && tag.trim_matches(['{', '%', '}', '-', '+', ' ', '\n', '\t']) == "raw"
}

/// Bytes up to and with the tag that ends a raw block.
fn raw_length(text: &str, tag: usize) -> usize {
    text[tag..]
        .find("endraw")
        .and_then(|at| text[tag + at..].find("%}").map(|end| tag + at + end + 2))
        .unwrap_or(text.len())
}

/// Bytes of the string literal that starts `text`.
fn literal_length(text: &str) -> usize {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of the bracketed expression that starts `text`.
fn bracket_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => {
                at += literal_length(&text[at..]);
                continue;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn tag_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let close = if text.starts_with("{{") { "}}" } else { "%}" };
    let mut at = 2;
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => at += literal_length(&text[at..]),
            b'(' | b'[' | b'{' => at += bracket_length(&text[at..]),
            _ if text.as_bytes()[at..].starts_with(close.as_bytes()) => return at + 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

fn name_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Bytes of the operand that starts `text`: a primary expression with what follows it (members, calls, filters).
fn operand_length(text: &str) -> usize {
    let mut at = blanks(text);
    while text[at..].starts_with(['-', '+']) {
        at += 1 + blanks(&text[at + 1..]);
    }
    at += match text[at..].bytes().next() {
        Some(b'\'' | b'"') => literal_length(&text[at..]),
        Some(b'(' | b'[' | b'{') => bracket_length(&text[at..]),
        Some(b'0'..=b'9') => {
            text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(text.len() - at)
        }
        _ => name_length(&text[at..]),
    };
    loop {
        let next = at + blanks(&text[at..]);
        match text[next..].bytes().next() {
            Some(b'(' | b'[') => at = next + bracket_length(&text[next..]),
            Some(b'.' | b'|') => {
                let name = next + 1 + blanks(&text[next + 1..]);
                at = name + name_length(&text[name..]);
            }
            _ => return at,
        }
    }
}

/// The inside of a tuple in parentheses.
fn tuple_inside(operand: &str) -> Option<&str> {
    let operand = operand.trim();
    if !operand.starts_with('(') || bracket_length(operand) != operand.len() {
        return None;
    }
    let inside = &operand[1..operand.len() - 1];
    let bytes = inside.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => at += literal_length(&inside[at..]),
            b'(' | b'[' | b'{' => at += bracket_length(&inside[at..]),
            b',' => return Some(inside),
            _ => at += 1,
        }
    }
    None
}

fn rewritten(tag: &str) -> String {
    let bytes = tag.as_bytes();
    let mut out = String::with_capacity(tag.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\'' && bytes[at] != b'"' {
            let next = tag[at..].find(['\'', '"']).map_or(tag.len(), |offset| at + offset);
            out.push_str(&tag[at..next]);
            at = next;
            continue;
        }
        let end = at + literal_length(&tag[at..]);
        out.push_str(&tag[at..end]);
        at = end;
        loop {
            let sign = at + blanks(&tag[at..]);
            if !tag[sign..].starts_with('%') || tag[sign..].starts_with("%}") {
                break;
            }
            let operand_end = sign + 1 + operand_length(&tag[sign + 1..]);
            let operand = &tag[sign + 1..operand_end];
            let arguments = tuple_inside(operand).map_or(operand, |inside| inside.trim_end().trim_end_matches(','));
            out.push_str(&format!("{}| {FILTER}({})", &tag[at..sign], rewritten(arguments)));
            at = operand_end;
        }
    }
    out
}

pub fn add_filters(environment: &mut minijinja::Environment<'static>) {
    environment.add_filter(FILTER, |text: &str, values: Rest<Value>| percent_format(text, &values, None));
    environment.add_filter("format", |text: &str, values: Rest<Value>, named: Kwargs| {
        let map: Vec<(Value, Value)> = named
            .args()
            .map(|name| Ok((Value::from(name), named.get::<Value>(name)?)))
            .collect::<Result<_, Error>>()?;
        percent_format(text, &values, (!map.is_empty()).then(|| map.into_iter().collect()))
    });
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

const LIMIT: usize = 4096; // of width and precision

fn digits(chars: &mut std::iter::Peekable<std::str::Chars>) -> Result<Option<usize>, Error> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        number = Some(number.unwrap_or(0) * 10 + digit as usize);
        if number > Some(LIMIT) {
            return Err(bad("a width in a % format is too large"));
        }
    }
    Ok(number)
}

/// Formats `text` with the values in turn, or with the members of a map for `%(name)s`.
fn percent_format(text: &str, values: &[Value], named: Option<Value>) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut used = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut value = None;
        if chars.next_if_eq(&'(').is_some() {
            let name: String = chars.by_ref().take_while(|c| *c != ')').collect();
            let map = named.as_ref().or(values.first()).ok_or_else(|| bad("format requires a mapping"))?;
            value = Some(map.get_attr(&name)?);
            used = values.len();
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| "-0+ #".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                _ => spec.alternate = true,
            }
        }
        spec.width = digits(&mut chars)?.unwrap_or(0);
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars)?.unwrap_or(0));
        }
        let kind = chars.next().ok_or_else(|| bad("incomplete format"))?;
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match value {
            Some(value) => value,
            None => {
                used += 1;
                values.get(used - 1).cloned().ok_or_else(|| bad("not enough arguments for format string"))?
            }
        };
        out.push_str(&formatted(kind, &value, &spec)?);
    }
    let spare_map = values.len() == 1 && values[0].kind() == ValueKind::Map;
    if used < values.len() && !spare_map {
        return Err(bad("not all arguments converted during string formatting"));
    }
    Ok(out)
}

fn formatted(kind: char, value: &Value, spec: &Spec) -> Result<String, Error> {
    let text = match kind {
        's' => python_str(value),
        'r' => python_repr(value),
        'c' if value.as_str().is_some() => python_str(value),
        'c' => {
            char::from_u32(whole(kind, value)? as u32).map(String::from).ok_or_else(|| bad("%c arg not in range"))?
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => return integer(kind, value, spec),
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => return float(kind, value, spec),
        other => return Err(bad(format!("unsupported format character '{other}'"))),
    };
    let text = match spec.precision {
        Some(length) if kind != 'c' => text.chars().take(length).collect(),
        _ => text,
    };
    Ok(padded("", &text, spec, false))
}

fn whole(kind: char, value: &Value) -> Result<i128, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(value.is_true() as i128),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).map_err(|e| bad(e.to_string())),
        ValueKind::Number if "diu".contains(kind) => Ok(f64::try_from(value.clone())?.trunc() as i128),
        other => Err(bad(format!("%{kind} format: a number is required, not {other}"))),
    }
}

fn sign(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn integer(kind: char, value: &Value, spec: &Spec) -> Result<String, Error> {
    let number = whole(kind, value)?;
    let size = number.unsigned_abs();
    let (prefix, digits) = match kind {
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'o' => ("0o", format!("{size:o}")),
        _ => ("", size.to_string()),
    };
    let digits = format!("{digits:0>width$}", width = spec.precision.unwrap_or(0));
    let head = format!("{}{}", sign(number < 0, spec), if spec.alternate { prefix } else { "" });
    Ok(padded(&head, &digits, spec, true))
}

fn with_exponent(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or_default();
    format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

fn shortest(number: f64, precision: usize, alternate: bool) -> String {
    let precision = precision.max(1);
    let text = with_exponent(number, precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or_default();
    let trim = |digits: &str| match digits.contains('.') && !alternate {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => digits.to_string(),
    };
    if power < -4 || power >= precision as i32 {
        return format!("{}e{exponent}", trim(digits));
    }
    trim(&format!("{number:.places$}", places = (precision as i32 - 1 - power).max(0) as usize))
}

fn float(kind: char, value: &Value, spec: &Spec) -> Result<String, Error> {
    let number = match value.kind() {
        ValueKind::Bool => value.is_true() as u8 as f64,
        ValueKind::Number => f64::try_from(value.clone())?,
        other => return Err(bad(format!("must be real number, not {other}"))),
    };
    let (size, precision) = (number.abs(), spec.precision.unwrap_or(6));
    let text = match kind.to_ascii_lowercase() {
        _ if size.is_nan() => "nan".to_string(),
        _ if size.is_infinite() => "inf".to_string(),
        'f' => format!("{size:.precision$}"),
        'e' => with_exponent(size, precision),
        _ => shortest(size, precision, spec.alternate),
    };
    let text = if kind.is_ascii_uppercase() { text.to_uppercase() } else { text };
    Ok(padded(sign(number.is_sign_negative() && !number.is_nan(), spec), &text, spec, size.is_finite()))
}

fn padded(head: &str, text: &str, spec: &Spec, zeros: bool) -> String {
    let missing = spec.width.saturating_sub(head.chars().count() + text.chars().count());
    if spec.left {
        format!("{head}{text}{}", " ".repeat(missing))
    } else if spec.zero && zeros {
        format!("{head}{}{text}", "0".repeat(missing))
    } else {
        format!("{}{head}{text}", " ".repeat(missing))
    }
}
