//! The part of OData's query options that is understood: `$select`, `$top`, `$skiptoken`, `$count`, and `$filter` with `eq` and `and`.

use serde_json::{Map, Value};

use super::error::GraphError;
use crate::form::Form;

/// Most clauses of a filter.
const MAX_CLAUSES: usize = 10;
/// Graph's default for directory objects.
const PAGE: usize = 100;

#[derive(Default)]
pub(super) struct Query {
    select: Option<Vec<String>>,
    filter: Vec<Clause>,
    top: Option<usize>,
    skip: usize,
    /// Whether the number of all objects is wanted as well.
    count: bool,
    /// As it came in, without `$skiptoken`.
    text: Vec<(String, String)>,
}

/// `name eq 'value'`, or `name/any(x:x eq 'value')`.
#[derive(Debug, PartialEq, Eq)]
struct Clause {
    name: String,
    any: bool,
    value: String,
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, GraphError> {
        let form = Form::parse(text.as_bytes())
            .map_err(|_| GraphError::protocol("The query string is malformed."))?;
        let mut query = Self::default();
        for (name, value) in form.pairs() {
            let number = || {
                value.parse::<usize>().map_err(|_| {
                    GraphError::protocol(format!("Invalid value for query option '{name}'."))
                })
            };
            if name != "$skiptoken" {
                query.text.push((name.to_owned(), value.to_owned()));
            }
            match name {
                "$select" => {
                    query.select = Some(
                        value
                            .split(',')
                            .map(|name| name.trim().to_owned())
                            .collect(),
                    );
                }
                "$filter" => query.filter = filter(value)?,
                "$top" => {
                    let top = number()?;
                    if !(1..=999).contains(&top) {
                        return Err(GraphError::bad(
                            "Invalid page size specified. Must be between 1 and 999 inclusive.",
                        ));
                    }
                    query.top = Some(top);
                }
                "$skiptoken" => query.skip = number()?,
                "$count" => {
                    query.count = value.parse().map_err(|_| {
                        GraphError::protocol("Invalid value for query option '$count'.")
                    })?;
                }
                // Nothing here depends on it.
                "client-request-id" => {}
                _ => {
                    return Err(GraphError::protocol(format!(
                        "The query option '{name}' is not supported."
                    )));
                }
            }
        }
        Ok(query)
    }

    /// Whether the client has chosen the properties.
    pub(super) fn selects(&self) -> bool {
        self.select.is_some()
    }

    pub(super) fn is_plain(&self) -> bool {
        self.filter.is_empty() && self.top.is_none() && self.skip == 0 && !self.count
    }

    /// The chosen properties of an object; `kind` is its type's name.
    pub(super) fn select(&self, object: Value, kind: &str) -> Result<Value, GraphError> {
        let (Some(select), Value::Object(object)) = (&self.select, &object) else {
            return Ok(object);
        };
        let mut chosen = Map::new();
        for name in select {
            let value = object.get(name).ok_or_else(|| {
                GraphError::protocol(format!(
                    "Parsing OData Select and Expand failed: Could not find a property named '{name}' on type 'microsoft.graph.{kind}'."
                ))
            })?;
            chosen.insert(name.clone(), value.clone());
        }
        Ok(Value::Object(chosen))
    }

    /// Whether the object passes; `filterable` are the properties that may stand in a filter.
    pub(super) fn matches(
        &self,
        object: &Value,
        filterable: &[&str],
        kind: &str,
    ) -> Result<bool, GraphError> {
        for clause in &self.filter {
            if !filterable.contains(&clause.name.as_str()) {
                return Err(GraphError::new(
                    http::StatusCode::BAD_REQUEST,
                    "Request_UnsupportedQuery",
                    format!(
                        "Unsupported or invalid query filter clause specified for property '{}' of resource '{kind}'.",
                        clause.name
                    ),
                ));
            }
            let value = object.get(&clause.name);
            // Graph compares without regard to case.
            let same = |value: &Value| {
                value
                    .as_str()
                    .is_some_and(|text| text.to_lowercase() == clause.value.to_lowercase())
            };
            let passes = match value {
                Some(Value::Array(values)) if clause.any => values.iter().any(same),
                Some(value) if !clause.any => same(value),
                _ => false,
            };
            if !passes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same query for the page that begins at `skip`.
    pub(super) fn following(&self, skip: usize) -> String {
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.text)
            .append_pair("$skiptoken", &skip.to_string())
            .finish()
    }

    /// Whether the page is to say how many objects there are: only the first one does.
    pub(super) fn counts(&self) -> bool {
        self.count && self.skip == 0
    }

    /// One page, and where the next one begins.
    pub(super) fn page(&self, mut values: Vec<Value>) -> (Vec<Value>, Option<usize>) {
        let mut rest = values.split_off(self.skip.min(values.len()));
        let size = self.top.unwrap_or(PAGE);
        let next = (rest.len() > size).then(|| self.skip.saturating_add(size));
        rest.truncate(size);
        (rest, next)
    }
}

fn filter(text: &str) -> Result<Vec<Clause>, GraphError> {
    let invalid = || GraphError::protocol("Invalid filter clause.");
    let mut clauses = Vec::new();
    let mut rest = text.trim();
    loop {
        if clauses.len() == MAX_CLAUSES {
            return Err(invalid());
        }
        let (clause, after) = clause(rest).ok_or_else(invalid)?;
        clauses.push(clause);
        let after = after.trim_start();
        if after.is_empty() {
            return Ok(clauses);
        }
        rest = after.strip_prefix("and ").ok_or_else(invalid)?.trim_start();
    }
}

fn clause(text: &str) -> Option<(Clause, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric())?;
    let (name, rest) = text.split_at(end);
    let (rest, any) = match rest.strip_prefix("/any(") {
        None => (rest, false),
        Some(lambda) => {
            let (variable, body) = lambda.split_once(':')?;
            if variable.trim().is_empty() {
                return None;
            }
            (body.trim_start().strip_prefix(variable.trim())?, true)
        }
    };
    let rest = rest.trim_start().strip_prefix("eq ")?.trim_start();
    let (value, rest) = literal(rest)?;
    let rest = if any {
        rest.trim_start().strip_prefix(')')?
    } else {
        rest
    };
    let clause = Clause {
        name: name.to_owned(),
        any,
        value,
    };
    (!name.is_empty()).then_some((clause, rest))
}

/// A quoted string, in which a quote is doubled, or a bare GUID.
fn literal(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let end = text
            .find(|letter: char| !letter.is_ascii_hexdigit() && letter != '-')
            .unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return crate::form::guid(value).map(|id| (id.to_string(), rest));
    };
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_are_read_and_nothing_else() {
        let object = json!({ "displayName": "it's A", "identifierUris": ["api://x"], "clientId": "3edd1e00-0000-4000-8000-000000005000" });
        let known = ["displayName", "identifierUris", "clientId"];
        let passes = |text: &str| {
            Query::parse(&format!(
                "$filter={}",
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
            ))
            .and_then(|query| query.matches(&object, &known, "x"))
            .map_err(|error| error.code)
        };
        for text in [
            "displayName eq 'it''s a'",
            "identifierUris/any(u:u eq 'api://x')",
            "identifierUris/any(uri: uri eq 'api://x') and displayName eq 'it''s A'",
            "clientId eq 3edd1e00-0000-4000-8000-000000005000",
        ] {
            assert_eq!(passes(text), Ok(true), "{text}");
        }
        for text in [
            "displayName eq 'b'",
            "identifierUris/any(u:u eq 'api://y')",
            "identifierUris eq 'api://x'",
        ] {
            assert_eq!(passes(text), Ok(false), "{text}");
        }
        for text in [
            "displayName",
            "displayName eq 'a",
            "displayName ne 'a'",
            "displayName eq 'a' or displayName eq 'b'",
            "identifierUris/any(u:v eq 'api://x')",
            "identifierUris/any(u:u eq 'api://x'",
            "' eq ''",
        ] {
            assert_eq!(passes(text), Err("BadRequest"), "{text}");
        }
        assert_eq!(passes("other eq 'a'"), Err("Request_UnsupportedQuery"));
    }

    #[test]
    fn pages_follow_each_other() {
        let values: Vec<Value> = (0..5).map(Value::from).collect();
        let page = |text: &str| Query::parse(text).unwrap().page(values.clone());
        assert_eq!(page("$top=2"), (vec![json!(0), json!(1)], Some(2)));
        assert_eq!(page("$top=2&$skiptoken=4"), (vec![json!(4)], None));
        assert_eq!(page("$skiptoken=9"), (Vec::new(), None));
        let many: Vec<Value> = (0..201).map(Value::from).collect();
        let sizes = |text: &str| {
            let (page, next) = Query::parse(text).unwrap().page(many.clone());
            (page.len(), next)
        };
        assert_eq!(sizes(""), (100, Some(100)));
        assert_eq!(sizes("$skiptoken=100"), (100, Some(200)));
        assert_eq!(sizes("$skiptoken=200"), (1, None));
        assert_eq!(sizes("$top=201"), (201, None));
        assert!(Query::parse("$top=0").is_err() && Query::parse("$expand=owners").is_err());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = filter(&text);
            let _ = Query::parse(&text);
        }
    }
}
