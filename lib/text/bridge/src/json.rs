// SPDX-License-Identifier: Apache-2.0
//! Template values written the way Python writes them: json.dumps for `tojson`, str() and repr() for output.

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Error, ErrorKind};

struct Layout {
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

/// The `tojson` filter with the keywords of json.dumps: ensure_ascii, indent, separators, sort_keys.
pub fn tojson(value: Value, rest: Rest<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let mut positional = rest.iter().cloned();
    let mut argument = |name: &str| -> Result<Value, Error> {
        match positional.next() {
            Some(value) => Ok(value),
            None => Ok(kwargs.get::<Option<Value>>(name)?.unwrap_or_default()),
        }
    };
    let ensure_ascii = argument("ensure_ascii")?.is_true();
    let indent = indent_text(&argument("indent")?)?;
    let separators = argument("separators")?;
    let sort_keys = argument("sort_keys")?.is_true();
    kwargs.assert_all_used()?;
    let (item_separator, key_separator) = if separators.is_undefined() || separators.is_none() {
        (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string())
    } else {
        (separator(&separators, 0)?, separator(&separators, 1)?)
    };
    let layout = Layout { ensure_ascii, sort_keys, indent, item_separator, key_separator };
    let mut out = String::new();
    dump(&mut out, &value, &layout, 0)?;
    Ok(Value::from(out))
}

fn separator(pair: &Value, index: usize) -> Result<String, Error> {
    let item = pair.get_item_by_index(index)?;
    let text = item.as_str().map(str::to_string);
    text.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two strings"))
}

fn indent_text(indent: &Value) -> Result<Option<String>, Error> {
    if indent.is_undefined() || indent.is_none() {
        return Ok(None);
    }
    if let Some(text) = indent.as_str() {
        return Ok(Some(text.to_string()));
    }
    match indent.as_i64() {
        Some(width) if width <= 64 => Ok(Some(" ".repeat(width.max(0) as usize))),
        _ => Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: bad indent {indent}"))),
    }
}

fn dump(out: &mut String, value: &Value, layout: &Layout, depth: usize) -> Result<(), Error> {
    if depth > 200 {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: value nested deeper than 200"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => push_number(out, value, ["NaN", "Infinity", "-Infinity"]),
        ValueKind::String => push_json_string(out, value.as_str().unwrap_or_default(), layout.ensure_ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            push_all(out, ('[', ']'), &items, layout, depth, |out, item| dump(out, item, layout, depth + 1))?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if layout.sort_keys {
                keys.sort();
            }
            push_all(out, ('{', '}'), &keys, layout, depth, |out, key| {
                push_key(out, key, layout)?;
                out.push_str(&layout.key_separator);
                dump(out, &value.get_item(key)?, layout, depth + 1)
            })?;
        }
        kind => return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: cannot write {kind} as JSON"))),
    }
    Ok(())
}

fn push_key(out: &mut String, key: &Value, layout: &Layout) -> Result<(), Error> {
    if let Some(text) = key.as_str() {
        push_json_string(out, text, layout.ensure_ascii);
        return Ok(());
    }
    out.push('"');
    dump(out, key, layout, 0)?;
    out.push('"');
    Ok(())
}

fn push_all(
    out: &mut String,
    brackets: (char, char),
    items: &[Value],
    layout: &Layout,
    depth: usize,
    mut push_item: impl FnMut(&mut String, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |out: &mut String, depth: usize| {
        if let Some(indent) = &layout.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    out.push(brackets.0);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&layout.item_separator);
        }
        new_line(out, depth + 1);
        push_item(out, item)?;
    }
    if !items.is_empty() {
        new_line(out, depth);
    }
    out.push(brackets.1);
    Ok(())
}

fn push_json_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if ensure_ascii && (c as u32) > 0x7e => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_number(out: &mut String, value: &Value, names: [&str; 3]) {
    if value.is_integer() {
        out.push_str(&value.to_string());
        return;
    }
    let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    if number.is_nan() {
        out.push_str(names[0]);
    } else if number.is_infinite() {
        out.push_str(if number > 0.0 { names[1] } else { names[2] });
    } else {
        out.push_str(&python_float(number));
    }
}

/// repr() of a finite float: Rust and Python agree on the digits, not on the spelling of the exponent.
fn python_float(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            let power: i32 = exponent.parse().unwrap_or_default();
            format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
        }
    }
}

/// str(value) as Python has it.
pub fn python_str(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_string(),
        ValueKind::Undefined => String::new(),
        _ => {
            let mut out = String::new();
            push_repr(&mut out, value, 0);
            out
        }
    }
}

/// repr(value) as Python has it.
pub fn python_repr(value: &Value) -> String {
    let mut out = String::new();
    push_repr(&mut out, value, 0);
    out
}

fn push_repr(out: &mut String, value: &Value, depth: usize) {
    if depth > 200 {
        out.push_str("...");
        return;
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => push_number(out, value, ["nan", "inf", "-inf"]),
        ValueKind::String => push_repr_string(out, value.as_str().unwrap_or_default()),
        // An unfinished iteration is shown as the list it gives (joined lists are such values).
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter().map(|items| items.collect()).unwrap_or_default();
            push_repr_list(out, ('[', ']'), &items, |out, item| push_repr(out, item, depth + 1));
        }
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter().map(|keys| keys.collect()).unwrap_or_default();
            push_repr_list(out, ('{', '}'), &keys, |out, key| {
                push_repr(out, key, depth + 1);
                out.push_str(": ");
                push_repr(out, &value.get_item(key).unwrap_or_default(), depth + 1);
            });
        }
        ValueKind::Undefined => out.push_str("Undefined"),
        _ => out.push_str(&value.to_string()),
    }
}

fn push_repr_list(
    out: &mut String,
    brackets: (char, char),
    items: &[Value],
    mut push: impl FnMut(&mut String, &Value),
) {
    out.push(brackets.0);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push(out, item);
    }
    out.push(brackets.1);
}

fn push_repr_string(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (0x7f..0xa1).contains(&(c as u32)) || c as u32 == 0xad => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}
