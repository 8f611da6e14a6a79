//! Label selectors: `app=web,tier in (front, edge),!canary`.
//!
//! Both written forms are read: the text of the query parameter, equality based and set based, and the object with
//! `matchLabels` and `matchExpressions`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::names::Form;

/// The longest selector that is read.
const MAX_BYTES: usize = 64 << 10;

/// Requirements that must all hold. The empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// The label has one of these values.
    In(BTreeSet<String>),
    /// The label has none of these values; it may be absent.
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
    /// The label is a whole number above this.
    Above(i64),
    /// The label is a whole number below this.
    Below(i64),
}

/// Text that is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse requirement: {problem}")]
pub struct ParseSelectorError {
    problem: String,
}

impl Selector {
    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels))
    }

    /// Whether this selects every object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Above(least) => number().is_some_and(|number| number > *least),
            Test::Below(most) => number().is_some_and(|number| number < *most),
        }
    }
}

impl From<&BTreeMap<String, String>> for Selector {
    /// The selector of a replication controller or service: every label as given.
    fn from(labels: &BTreeMap<String, String>) -> Self {
        let requirements = labels.iter().map(|(key, value)| Requirement {
            key: key.clone(),
            test: Test::In(BTreeSet::from([value.clone()])),
        });
        Self {
            requirements: requirements.collect(),
        }
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = ParseSelectorError;

    fn try_from(selector: &LabelSelector) -> Result<Self, ParseSelectorError> {
        let mut requirements = selector
            .match_labels
            .as_ref()
            .map(Self::from)
            .unwrap_or_default()
            .requirements;
        for one in selector.match_expressions.iter().flatten() {
            let values = || {
                one.values
                    .iter()
                    .flatten()
                    .cloned()
                    .collect::<BTreeSet<_>>()
            };
            let test = match one.operator.as_str() {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                other => {
                    return Err(error(format!(
                        "operator {other:?} is none of In, NotIn, Exists and DoesNotExist"
                    )));
                }
            };
            requirements.push(Requirement {
                key: one.key.clone(),
                test,
            });
        }
        requirements.iter().try_for_each(check)?;
        Ok(Self { requirements })
    }
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, ParseSelectorError> {
        if text.len() > MAX_BYTES {
            return Err(error(format!(
                "{} bytes, at most {MAX_BYTES} are read",
                text.len()
            )));
        }
        let mut parser = Parser {
            tokens: tokens(text),
            next: 0,
        };
        let mut requirements = Vec::new();
        if parser.peek().is_none() {
            return Ok(Self { requirements });
        }
        loop {
            let requirement = parser.requirement()?;
            check(&requirement)?;
            requirements.push(requirement);
            match parser.take() {
                None => return Ok(Self { requirements }),
                Some(Token::Comma) => {}
                Some(other) => {
                    return Err(error(format!("found {other}, expected ',' or the end")));
                }
            }
        }
    }
}

fn error(problem: String) -> ParseSelectorError {
    ParseSelectorError { problem }
}

fn check(requirement: &Requirement) -> Result<(), ParseSelectorError> {
    let key = &requirement.key;
    if let Some(problem) = Form::LabelKey.problem(key) {
        return Err(error(format!("key {key:?}: {problem}")));
    }
    if let Test::In(values) | Test::NotIn(values) = &requirement.test {
        if values.is_empty() {
            return Err(error(format!("{key}: at least one value is needed")));
        }
        for value in values {
            if let Some(problem) = Form::LabelValue.problem(value) {
                return Err(error(format!("{key}: value: {problem}")));
            }
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Equals,
    NotEquals,
    Not,
    Comma,
    Open,
    Close,
    Above,
    Below,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Word(word) => word,
            Self::Equals => "=",
            Self::NotEquals => "!=",
            Self::Not => "!",
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Above => ">",
            Self::Below => "<",
        };
        write!(out, "'{text}'")
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '=' if rest.starts_with("==") => (Token::Equals, 2),
            '=' => (Token::Equals, 1),
            '!' if rest.starts_with("!=") => (Token::NotEquals, 2),
            '!' => (Token::Not, 1),
            ',' => (Token::Comma, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '>' => (Token::Above, 1),
            '<' => (Token::Below, 1),
            _ => {
                let ends = |c: char| c.is_whitespace() || "=!,()<>".contains(c);
                let end = rest.find(ends).unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    next: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self) -> Option<Token<'t>> {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, ParseSelectorError> {
        if self.peek() == Some(Token::Not) {
            self.take();
            return Ok(Requirement {
                key: self.word()?,
                test: Test::Absent,
            });
        }
        let key = self.word()?;
        let test = match self.peek() {
            None | Some(Token::Comma) => Test::Exists,
            Some(operator) => {
                self.take();
                self.test(operator)?
            }
        };
        Ok(Requirement { key, test })
    }

    fn test(&mut self, operator: Token<'_>) -> Result<Test, ParseSelectorError> {
        match operator {
            Token::Equals => Ok(Test::In(BTreeSet::from([self.value()]))),
            Token::NotEquals => Ok(Test::NotIn(BTreeSet::from([self.value()]))),
            Token::Word("in") => Ok(Test::In(self.values()?)),
            Token::Word("notin") => Ok(Test::NotIn(self.values()?)),
            Token::Above => Ok(Test::Above(self.number()?)),
            Token::Below => Ok(Test::Below(self.number()?)),
            Token::Word(_) | Token::Not | Token::Comma | Token::Open | Token::Close => Err(error(
                format!("found {operator}, expected in, notin, =, ==, !=, < or >"),
            )),
        }
    }

    fn word(&mut self) -> Result<String, ParseSelectorError> {
        match self.take() {
            Some(Token::Word(word)) => Ok(word.to_owned()),
            Some(other) => Err(error(format!("found {other}, expected the key of a label"))),
            None => Err(error(
                "found the end, expected the key of a label".to_owned(),
            )),
        }
    }

    fn number(&mut self) -> Result<i64, ParseSelectorError> {
        let word = self.value();
        word.parse()
            .map_err(|_| error(format!("{word:?} is not a whole number")))
    }

    /// A value; nothing at all is the empty value.
    fn value(&mut self) -> String {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.take();
                word.to_owned()
            }
            _ => String::new(),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, ParseSelectorError> {
        match self.take() {
            Some(Token::Open) => {}
            Some(other) => return Err(error(format!("found {other}, expected '('"))),
            None => return Err(error("found the end, expected '('".to_owned())),
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value());
            match self.take() {
                Some(Token::Comma) => {}
                Some(Token::Close) => return Ok(values),
                Some(other) => return Err(error(format!("found {other}, expected ',' or ')'"))),
                None => return Err(error("found the end, expected ',' or ')'".to_owned())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[track_caller]
    fn check(selector: &str, matching: &[&str], others: &[&str]) {
        let parsed: Selector = selector.parse().unwrap();
        for text in matching {
            assert!(
                parsed.matches(&labels(text)),
                "{selector} should match {text}"
            );
        }
        for text in others {
            assert!(
                !parsed.matches(&labels(text)),
                "{selector} should not match {text}"
            );
        }
    }

    #[test]
    fn selectors() {
        check("", &["", "a=b"], &[]);
        check("a=b", &["a=b", "a=b c=d"], &["", "a=c", "c=b"]);
        check("a==b", &["a=b"], &["a=c"]);
        check("a!=b", &["", "a=c"], &["a=b"]);
        check("a=", &["a="], &["a=b", ""]);
        check("a", &["a=", "a=b"], &["", "b=a"]);
        check("!a", &["", "b=a"], &["a=", "a=b"]);
        check("a in (b,c)", &["a=b", "a=c"], &["", "a=d"]);
        check("a in (b, )", &["a=b", "a="], &["a=d"]);
        check("a notin (b,c)", &["", "a=d"], &["a=b", "a=c"]);
        check(" a = b , c != d ", &["a=b", "a=b c=e"], &["a=b c=d", "c=e"]);
        check("a=b,a=c", &[], &["a=b", "a=c"]);
        check("n>5", &["n=6"], &["n=5", "n=x", ""]);
        check("n<5", &["n=4", "n=-4"], &["n=5", ""]);
        check("in in (in)", &["in=in"], &["in=x"]);
        check("example.com/a=b", &["example.com/a=b"], &["a=b"]);
    }

    #[test]
    fn what_is_not_a_selector() {
        for text in [
            ",",
            "a,",
            ",a",
            "=b",
            "a=b=c",
            "a in b",
            "a in (b",
            "a in",
            "a (b)",
            "!",
            "!!a",
            "a b",
            "a>x",
            "-a=b",
            "a=b/c",
            "a in (b c)",
            "a=(b)",
            "()",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn selector_objects() {
        let object: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "edge"]},
                {"key": "canary", "operator": "DoesNotExist"},
            ],
        }))
        .unwrap();
        let text: Selector = "app=web,tier in (front,edge),!canary".parse().unwrap();
        assert_eq!(Selector::try_from(&object).unwrap(), text);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ab!=,()<> in]{0,30}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.is_empty(), text.trim().is_empty());
            }
        }
    }
}
