//! The names of spans.

use std::borrow::Cow;

/// How a span is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanName {
    /// By the conventions: `{method}`, `{method} {route}`, or the gRPC method.
    #[default]
    Auto,
    /// By a template.
    Template(Vec<Part>),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// What stands for a value of the request.
    Field(Field),
}

/// A value of a request that a name may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `GET`; `HTTP` for a method that the conventions do not know.
    Method,
    /// The host without its port.
    Host,
    /// The path without its query.
    Path,
    /// The route's `http.route`, else its name.
    Route,
    /// The upstream cluster.
    Cluster,
}

impl Field {
    const ALL: [(&'static str, Self); 5] = [
        ("method", Self::Method),
        ("host", Self::Host),
        ("path", Self::Path),
        ("route", Self::Route),
        ("cluster", Self::Cluster),
    ];
}

impl SpanName {
    /// Reads `auto` or a template such as `{method} {route}`.
    ///
    /// Fails with what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected auto or a template of {method} {host} {path} {route} {cluster}";
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if text.is_empty() {
            return Err(format!("\"\" is no name, {expected}"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let field = behind.split_once('}').and_then(|(name, behind)| {
                let (_, field) = Field::ALL.iter().find(|(known, _)| *known == name)?;
                Some((*field, behind))
            });
            let Some((field, behind)) = field else {
                return Err(format!("{text:?} is no template, {expected}"));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Field(field));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self::Template(parts))
    }

    /// The template filled in; `None` for `auto`, and where nothing is left.
    pub(crate) fn render<'a>(&self, value: impl Fn(Field) -> Cow<'a, str>) -> Option<String> {
        let Self::Template(parts) = self else {
            return None;
        };
        let mut name = String::new();
        for part in parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Field(field) => name.push_str(&value(*field)),
            }
        }
        // A route that has no name leaves a space behind.
        let name = name.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in() {
        let value = |field| match field {
            Field::Method => "GET",
            Field::Host => "shop.example",
            Field::Path => "/a",
            Field::Route => "",
            Field::Cluster => "carts",
        };
        for (template, expected) in [
            ("auto", None),
            ("{method} {route}", Some("GET")),
            ("{method} {host}{path}", Some("GET shop.example/a")),
            ("to {cluster}", Some("to carts")),
            ("fixed", Some("fixed")),
            ("{route}", None),
        ] {
            let name = SpanName::parse(template).expect(template);
            let value = |field| Cow::Borrowed(value(field));
            assert_eq!(name.render(value).as_deref(), expected, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "{", "{}", "{verb}", "{method", "{method} {Route}"] {
            let error = SpanName::parse(text).expect_err(text);
            assert!(error.starts_with(&format!("{text:?} is no ")), "{error}");
        }
        assert!(SpanName::parse("a } b").is_ok());
    }
}
