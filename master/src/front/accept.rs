//! In which form an answer goes out: what `Accept` and `Accept-Encoding` ask for, of what there is.
//!
//! JSON in all its forms (as it is, as a table, as metadata alone) and YAML. Protobuf is read, but not written: clients
//! that prefer it take JSON as well.
use crate::call::{Call, Verb};
use crate::error::ApiError;
use crate::render::Form;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};
use http::{HeaderMap, StatusCode};

/// How the text is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Text {
    /// JSON on one line.
    #[default]
    Json,
    /// JSON for people.
    Pretty,
    /// YAML.
    Yaml,
}

/// What an answer looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Which part of the object is shown, and how.
    pub form: Form,
    /// How it is written.
    pub text: Text,
}

impl Accepted {
    /// The first thing the client likes best that there is.
    ///
    /// # Errors
    /// 406 where there is nothing it likes.
    pub fn of(call: &Call) -> Result<Self, ApiError> {
        let watch = call.verb == Verb::Watch;
        let pretty = !watch && is_pretty(call);
        let json = if pretty { Text::Pretty } else { Text::Json };
        for range in ranges(&call.headers) {
            let name = range.split(';').next().unwrap_or_default().trim();
            let name = name.to_ascii_lowercase();
            let found = match name.as_str() {
                "application/json" => {
                    Form::of(range, call).map(|form| Accepted { form, text: json })
                }
                "*/*" | "application/*" => Some(Accepted {
                    form: Form::Plain,
                    text: json,
                }),
                "application/yaml" | "application/x-yaml" | "text/yaml" if !watch => {
                    Form::of(range, call).map(|form| Accepted {
                        form,
                        text: Text::Yaml,
                    })
                }
                _ => None,
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        match call.headers.contains_key(ACCEPT) {
            true => Err(not_acceptable()),
            false => Ok(Accepted {
                form: Form::Plain,
                text: json,
            }),
        }
    }
}

/// 406.
fn not_acceptable() -> ApiError {
    let message = "only the following media types are accepted: application/json, application/yaml";
    ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
}

/// The media ranges, the best first; those that are not wanted at all are left out.
fn ranges(headers: &HeaderMap) -> Vec<&str> {
    let all = headers.get_all(ACCEPT).iter();
    let all = all.filter_map(|value| value.to_str().ok());
    let all = all.flat_map(|value| value.split(',')).map(str::trim);
    let mut ranked: Vec<(&str, u16)> = all
        .filter(|range| !range.is_empty())
        .map(|range| (range, quality(range)))
        .filter(|(_, quality)| *quality > 0)
        .collect();
    ranked.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
    ranked.into_iter().map(|(range, _)| range).collect()
}

/// Thousandths (RFC 9110, 12.4.2).
fn quality(range: &str) -> u16 {
    let parameters = range.split(';').skip(1).map(str::trim);
    let mut given = parameters.filter_map(|part| part.strip_prefix("q="));
    let Some(quality) = given
        .next()
        .and_then(|text| text.trim().parse::<f32>().ok())
    else {
        return 1000;
    };
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0).round();
    (0..=1000u16)
        .find(|number| f32::from(*number) >= thousandths)
        .unwrap_or(1000)
}

/// Whether people read it: they say so, or use a program for looking at pages.
fn is_pretty(call: &Call) -> bool {
    match call.query.iter().find(|(key, _)| key == "pretty") {
        Some((_, value)) => matches!(value.as_str(), "" | "1" | "true" | "True"),
        None => {
            let agent = call.headers.get(USER_AGENT);
            let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or("");
            ["curl", "Wget", "Mozilla/5.0"]
                .iter()
                .any(|of| agent.starts_with(of))
        }
    }
}

/// Whether the client unpacks gzip.
#[must_use]
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter();
    let all = all.filter_map(|value| value.to_str().ok());
    let mut all = all.flat_map(|value| value.split(','));
    all.any(|coding| {
        let name = coding.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("gzip") && quality(coding) > 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::User;
    use crate::render::{Include, Version};

    #[track_caller]
    fn check(accept: &[&str], query: &[(&str, &str)], verb: Verb, expected: Option<(Form, Text)>) {
        let mut call = Call {
            user: User::default(),
            verb,
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            rest: String::new(),
            query: Vec::new(),
            headers: HeaderMap::new(),
        };
        for (key, value) in query {
            call.query.push(((*key).to_owned(), (*value).to_owned()));
        }
        for value in accept {
            call.headers.append(ACCEPT, value.parse().unwrap());
        }
        let found = Accepted::of(&call).ok();
        assert_eq!(
            found.map(|found| (found.form, found.text)),
            expected,
            "{accept:?}"
        );
    }

    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    #[test]
    fn what_clients_ask_for() {
        let plain = Some((Form::Plain, Text::Json));
        let table = Some((Form::Table(Version::V1, Include::Metadata), Text::Json));
        check(&[], &[], Verb::List, plain);
        check(&["*/*"], &[], Verb::List, plain);
        check(&["application/json"], &[], Verb::Get, plain);
        check(
            &["application/vnd.kubernetes.protobuf,application/json"],
            &[],
            Verb::Get,
            plain,
        );
        check(&["application/json, */*"], &[], Verb::Get, plain);
        check(&[TABLE], &[], Verb::List, table);
        check(&[TABLE], &[], Verb::Watch, table);
        check(
            &["application/yaml"],
            &[],
            Verb::Get,
            Some((Form::Plain, Text::Yaml)),
        );
        check(&["application/yaml"], &[], Verb::Watch, None);
        check(
            &["application/yaml;q=0.5,application/json;q=0.7"],
            &[],
            Verb::Get,
            plain,
        );
        check(
            &["application/vnd.kubernetes.protobuf"],
            &[],
            Verb::Get,
            None,
        );
        check(&["text/html"], &[], Verb::Get, None);
        check(&["application/json;q=0"], &[], Verb::Get, None);
        check(
            &["application/json;as=Chair;v=v1;g=meta.k8s.io"],
            &[],
            Verb::Get,
            None,
        );
        check(
            &[],
            &[("pretty", "true")],
            Verb::Get,
            Some((Form::Plain, Text::Pretty)),
        );
        check(&[], &[("pretty", "true")], Verb::Watch, plain);
        check(&["text/html", "application/json"], &[], Verb::Get, plain);
    }
}
