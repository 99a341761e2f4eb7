// SPDX-License-Identifier: Apache-2.0
//! Chat templates: minijinja set up the way transformers sets up jinja2.

use std::collections::BTreeMap;
use std::fmt;

use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};

use crate::abi::{guarded, shielded, ErrorOut, Failure, Outcome, OwnedText, View};
use crate::json::{python_str, tojson};
use crate::methods;
use crate::percent::{self, with_percent_filters};
use crate::strftime::Moment;

const NAME: &str = "chat_template";

/// Steps a rendering may take: a long conversation needs under a million, and an endless template must stop.
const FUEL: u64 = 10_000_000;

pub struct TemplateHandle {
    environment: Environment<'static>,
}

/// Marks an error raised by the template's own call of raise_exception.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

fn raise_exception(message: Value) -> Result<Value, Error> {
    let message = python_str(&message);
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Refusal(message)))
}

fn write_as_python(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    if value.is_undefined() || value.as_str().is_some() {
        return minijinja::escape_formatter(out, state, value);
    }
    out.write_str(&python_str(value)).map_err(Error::from)
}

/// Replaces `{% generation %}` … `{% endgeneration %}` by `{% with %}` … `{% endwith %}`, which renders its body in a
/// scope of its own, as the reference does. Whitespace control and line numbers stay as they are.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inside = &tag[2..end];
        match inside.trim_matches(['-', '+']).trim() {
            "generation" => out.push_str(&format!("{{%{}%}}", inside.replace("generation", "with"))),
            "endgeneration" => out.push_str(&format!("{{%{}%}}", inside.replace("endgeneration", "endwith"))),
            _ => {
                out.push_str("{%");
                rest = &tag[2..];
                continue;
            }
        }
        rest = &tag[end + 2..];
    }
    out.push_str(rest);
    out
}

fn describe(error: &Error) -> Failure {
    let mut line = error.line();
    let mut text = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    if error.kind() == ErrorKind::OutOfFuel {
        text = "takes too many steps: does it loop without end?".to_string();
    } else if error.kind() != ErrorKind::InvalidOperation && error.detail().is_some() {
        text = format!("{}: {text}", error.kind());
    }
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Refusal>() {
            return Failure { message: refusal.0.clone(), line: line.unwrap_or(0) as i64, refused: true };
        }
        if let Some(inner) = inner.downcast_ref::<Error>() {
            line = inner.line().or(line);
        }
        cause = inner.source();
    }
    Failure { message: text, line: line.unwrap_or(0) as i64, refused: false }
}

fn strftime_now(moment: Moment, format: &str) -> Result<String, Error> {
    moment.format(format).map_err(|directive| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now: directive {directive} is not supported"))
    })
}

impl TemplateHandle {
    fn parse(source: &str) -> Outcome<Self> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(write_as_python);
        environment.set_unknown_method_callback(methods::call_method);
        minijinja_contrib::add_to_environment(&mut environment);
        environment.add_filter("tojson", tojson);
        percent::add_filters(&mut environment);
        // Python's strings and dicts have lengths and items, its bools are numbers.
        environment.add_test("sequence", |value: Value| {
            matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
        });
        environment.add_test("iterable", |value: Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_test("number", |value: Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
        environment.add_filter("replace", methods::replace);
        environment.add_filter("string", |value: Value| python_str(&value));
        environment.add_function("raise_exception", |message: Rest<Value>| {
            raise_exception(message.first().cloned().unwrap_or_default())
        });
        // jinja2 reads every kind of line end as a newline.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        let source = with_percent_filters(&without_generation_tags(&source));
        environment.add_template_owned(NAME, source).map_err(|error| describe(&error))?;
        Ok(TemplateHandle { environment })
    }

    fn render(&self, variables: &str, date: &str) -> Outcome<String> {
        let moment = Moment::parse(date).ok_or_else(|| {
            Failure::new(format!("cannot read date {date:?}: want YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS"))
        })?;
        let variables: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(variables).map_err(|e| Failure::new(format!("cannot read variables: {e}")))?;
        let mut context: BTreeMap<String, Value> =
            variables.iter().map(|(name, value)| (name.clone(), Value::from_serialize(value))).collect();
        context.insert(
            "strftime_now".to_string(),
            Value::from_function(move |format: String| strftime_now(moment, &format)),
        );
        let template = self.environment.get_template(NAME).map_err(|error| describe(&error))?;
        template.render(context).map_err(|error| describe(&error))
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_template_parse(source: View, error: *mut ErrorOut) -> *mut TemplateHandle {
    guarded(error, || TemplateHandle::parse(source.text()?).map(Box::new)).map_or(std::ptr::null_mut(), Box::into_raw)
}

#[no_mangle]
pub unsafe extern "C" fn suture_template_free(chat_template: *mut TemplateHandle) {
    if !chat_template.is_null() {
        shielded((), || drop(Box::from_raw(chat_template)));
    }
}

#[no_mangle]
pub unsafe extern "C" fn suture_template_render(
    chat_template: *const TemplateHandle,
    variables_json: View,
    date: View,
    text: *mut OwnedText,
    error: *mut ErrorOut,
) -> i32 {
    match guarded(error, || (*chat_template).render(variables_json.text()?, date.text()?)) {
        Some(rendered) => {
            *text = OwnedText::new(rendered);
            0
        }
        None => -1,
    }
}
