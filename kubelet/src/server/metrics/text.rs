//! Prometheus' text format, for numbers that were true at a moment of their own.
use jiff::Timestamp;
use std::fmt::Write;

/// What it is called.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics. Writing to a string cannot fail.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    /// The samples that follow are of this family.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.family = name;
    }

    /// One sample; with the moment that it is of, if that is not now.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64, at: Option<Timestamp>) {
        self.text.push_str(self.family);
        for (index, (name, value)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{name}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = write!(self.text, " {value}");
        if let Some(at) = at {
            let _ = write!(self.text, " {}", at.as_millisecond());
        }
        self.text.push('\n');
    }

    /// The whole page.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// Counters as Prometheus has them: what is lost above 2^53 is of no concern.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric is a double by definition"
)]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

/// A moment in seconds.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut page = Page::default();
        page.family("x_total", "counter", "What x is");
        page.sample(&[], 1.5, None);
        let at = Timestamp::from_millisecond(1234).ok();
        page.sample(&[("a", "b\"\\\nc"), ("d", "")], 3.0, at);
        assert_eq!(
            page.finish(),
            "# HELP x_total What x is\n# TYPE x_total counter\nx_total 1.5\n\
            x_total{a=\"b\\\"\\\\\\nc\",d=\"\"} 3 1234\n"
        );
    }
}
