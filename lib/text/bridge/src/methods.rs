// SPDX-License-Identifier: Apache-2.0
//! Python methods that chat templates call and minijinja's own compatibility layer lacks or has in part.

use minijinja::value::{from_args, Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Called for methods that values do not have.
pub fn call_method(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let found = match value.kind() {
        ValueKind::String => string_method(value.as_str().unwrap_or_default(), method, args)?,
        ValueKind::Seq if method == "index" => Some(index_of(value, args)?),
        _ => None,
    };
    match found {
        Some(result) => Ok(result),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn string_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (left, right) = text.split_once(separator).map_or((text, None), |(left, right)| (left, Some(right)));
            list_of(&[left, if right.is_some() { separator } else { "" }, right.unwrap_or("")])
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (left, right) = text.rsplit_once(separator).map_or((None, text), |(left, right)| (Some(left), right));
            list_of(&[left.unwrap_or(""), if left.is_some() { separator } else { "" }, right])
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "index" => {
            let (part,): (&str,) = from_args(args)?;
            let at = text.find(part).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "find" | "rfind" if args.len() == 1 => {
            let (part,): (&str,) = from_args(args)?;
            let at = if method == "find" { text.find(part) } else { text.rfind(part) };
            Value::from(at.map_or(-1, |at| text[..at].chars().count() as i64))
        }
        _ => return Ok(None),
    }))
}

/// split(sep=None, maxsplit=-1) and rsplit: without a separator, runs of white space separate.
fn split(text: &str, args: &[Value], from_right: bool) -> Result<Value, Error> {
    let (separator, limit, kwargs): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(separator) => separator,
        None => kwargs.get::<Option<Value>>("sep")?.unwrap_or_default(),
    };
    let limit = match limit {
        Some(limit) => limit,
        None => kwargs.get::<Option<i64>>("maxsplit")?.unwrap_or(-1),
    };
    kwargs.assert_all_used()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX - 1);
    let mut parts: Vec<&str> = match separator.as_str() {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(separator) if from_right => text.rsplitn(limit + 1, separator).collect(),
        Some(separator) => text.splitn(limit + 1, separator).collect(),
        None if separator.is_none() || separator.is_undefined() => split_at_spaces(text, limit, from_right),
        None => return Err(Error::new(ErrorKind::InvalidOperation, "the separator must be a string or none")),
    };
    if from_right {
        parts.reverse();
    }
    Ok(list_of(&parts))
}

/// Parts in the order they are cut off, so from the right when `from_right`.
fn split_at_spaces(text: &str, limit: usize, from_right: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        rest = if from_right { rest.trim_end() } else { rest.trim_start() };
        if rest.is_empty() {
            return parts;
        }
        let cut = if parts.len() == limit {
            None
        } else if from_right {
            rest.rfind(char::is_whitespace).map(|at| at + rest[at..].chars().next().map_or(0, char::len_utf8))
        } else {
            rest.find(char::is_whitespace)
        };
        match cut {
            None => {
                parts.push(rest);
                return parts;
            }
            Some(cut) if from_right => {
                parts.push(&rest[cut..]);
                rest = &rest[..cut];
            }
            Some(cut) => {
                parts.push(&rest[..cut]);
                rest = &rest[cut..];
            }
        }
    }
}

fn list_of(parts: &[&str]) -> Value {
    parts.iter().map(|part| Value::from(*part)).collect()
}

fn index_of(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (Value,) = from_args(args)?;
    let position = list.try_iter()?.position(|item| item == wanted);
    position.map(Value::from).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("{wanted} is not in list")))
}

/// The `replace` filter, with jinja2's optional count.
pub fn replace(text: String, from: String, to: String, count: Option<usize>) -> String {
    match count {
        Some(count) => text.replacen(&from, &to, count),
        None => text.replace(&from, &to),
    }
}
