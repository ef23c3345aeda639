//! The forms of a page, as far as our own pages go: no nesting, attributes in quotes.

use std::collections::HashMap;

/// One `<form>`: where it goes and what it sends.
#[derive(Clone, Debug)]
pub struct Form {
    /// `action`, as written; empty for the page's own URL.
    pub action: String,
    /// Whether `method` is POST.
    pub post: bool,
    /// Inputs with a name, hidden ones with their values; buttons are listed separately.
    pub inputs: Vec<(String, String)>,
    /// Buttons with a name: pressing one sends its pair.
    pub buttons: Vec<(String, String)>,
}

impl Form {
    /// Whether there is an input of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.inputs.iter().any(|(input, _)| input == name)
    }
}

/// The forms of a page, in order.
#[must_use]
pub fn forms(page: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut inside = false;
    for tag in tags(page) {
        let named = |attributes: &HashMap<String, String>| {
            let name = attributes.get("name")?.clone();
            Some((name, attributes.get("value").cloned().unwrap_or_default()))
        };
        match (tag.name.as_str(), forms.last_mut()) {
            ("form", _) => {
                inside = true;
                let method = tag.attributes.get("method");
                forms.push(Form {
                    action: tag.attributes.get("action").cloned().unwrap_or_default(),
                    post: method.is_some_and(|method| method.eq_ignore_ascii_case("post")),
                    inputs: Vec::new(),
                    buttons: Vec::new(),
                });
            }
            ("/form", _) => inside = false,
            ("input" | "textarea" | "select", Some(form)) if inside => {
                let kind = tag.attributes.get("type").map(String::as_str);
                let unchecked = matches!(kind, Some("checkbox" | "radio"))
                    && !tag.attributes.contains_key("checked");
                match named(&tag.attributes) {
                    Some(pair) if kind == Some("submit") => form.buttons.push(pair),
                    Some(pair) if !unchecked => form.inputs.push(pair),
                    _ => {}
                }
            }
            ("button", Some(form)) if inside => form.buttons.extend(named(&tag.attributes)),
            _ => {}
        }
    }
    forms
}

/// The value of an attribute of the first tag that has `marker` as an attribute with that value.
#[must_use]
pub fn attribute(page: &str, marker: (&str, &str), wanted: &str) -> Option<String> {
    tags(page)
        .find(|tag| tag.attributes.get(marker.0).map(String::as_str) == Some(marker.1))
        .and_then(|tag| tag.attributes.get(wanted).cloned())
}

/// The page's text without its tags, for messages and for searching.
#[must_use]
pub fn text(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        text.push(' ');
        let closing = ["<script", "<style"]
            .iter()
            .find(|start| rest[open..].starts_with(**start))
            .map(|start| format!("</{}", &start[1..]));
        let from = closing
            .and_then(|closing| rest[open..].find(&closing))
            .unwrap_or_default()
            + open;
        let Some(close) = rest[from..].find('>') else {
            break;
        };
        rest = &rest[from + close + 1..];
    }
    text.push_str(rest);
    let text = unescape(&text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Tag {
    name: String,
    attributes: HashMap<String, String>,
}

fn tags(page: &str) -> impl Iterator<Item = Tag> {
    page.split('<').skip(1).filter_map(|piece| {
        let end = piece.find('>')?;
        let inner = piece[..end].trim_end_matches('/');
        let name_end = inner
            .find(|c: char| c.is_whitespace())
            .unwrap_or(inner.len());
        let mut attributes = HashMap::new();
        let mut rest = inner[name_end..].trim_start();
        while !rest.is_empty() {
            let key_end = rest
                .find(|c: char| c == '=' || c.is_whitespace())
                .unwrap_or(rest.len());
            let key = rest[..key_end].to_ascii_lowercase();
            rest = &rest[key_end..];
            let value = match rest.strip_prefix('=') {
                None => String::new(),
                Some(after) => {
                    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
                    let (value, tail) = match quote {
                        Some(quote) => after[1..].split_once(quote).unwrap_or((after, "")),
                        None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
                    };
                    rest = tail;
                    unescape(value)
                }
            };
            attributes.insert(key, value);
            rest = rest.trim_start();
        }
        Some(Tag {
            name: inner[..name_end].to_ascii_lowercase(),
            attributes,
        })
    })
}

fn unescape(text: &str) -> String {
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text.into(), |text: String, (from, to)| {
        text.replace(from, to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_sends_what_a_browser_would() {
        let page = r#"<p>x &lt; y</p><style>p{}</style><form action="/go?a=1&amp;b=2" method='POST'>
            <input type="hidden" name="flow" value="&quot;q&quot;"/><input name=user required>
            <input type="checkbox" name="stay" value="yes"><button name="do" value="ok">Go</button></form>
            <input name="outside">"#;
        let forms = forms(page);
        assert_eq!(forms.len(), 1);
        assert_eq!(forms[0].action, "/go?a=1&b=2");
        assert!(forms[0].post);
        assert_eq!(
            forms[0].inputs,
            [("flow".into(), "\"q\"".into()), ("user".into(), "".into())]
        );
        assert_eq!(forms[0].buttons, [("do".into(), "ok".into())]);
        assert_eq!(text(page), "x < y Go");
    }
}
