//! The tenant that a token is good for, which must be the one that was asked for.

use serde_json::Value;
use uuid::Uuid;

use super::graph::{Graph, GraphError};

/// What Graph says about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    /// The one that was asked for, with its id.
    Asked(String),
    /// Another one, with its id.
    Another(String),
}

/// `asked` is an id or a domain.
///
/// # Errors
///
/// There is no proper answer: perhaps it is not Graph that is there.
pub(super) async fn whose(graph: &Graph, asked: &str) -> Result<Whose, GraphError> {
    let found = match graph
        .list("organization", "$select=id,verifiedDomains")
        .await
    {
        Ok(found) => found,
        // A client without a user may lack the permission for it; its token was asked of that tenant.
        Err(GraphError::Forbidden { .. }) => return Ok(Whose::Asked(asked.to_owned())),
        Err(error) => return Err(error),
    };
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some((id, tenant)) = found
        .first()
        .and_then(|tenant| Some((text(tenant, "id")?, tenant)))
    else {
        return Ok(Whose::Asked(asked.to_owned()));
    };
    // It goes into files and addresses.
    let id = Uuid::try_parse(&id).map_err(|_| GraphError::Unusable {
        doing: "GET organization".to_owned(),
        why: "the tenant's id is no GUID",
    })?;
    let id = id.hyphenated().to_string();
    let domains = tenant.get("verifiedDomains").and_then(Value::as_array);
    let mut domains = domains
        .into_iter()
        .flatten()
        .filter_map(|domain| text(domain, "name"));
    let same =
        id.eq_ignore_ascii_case(asked) || domains.any(|domain| domain.eq_ignore_ascii_case(asked));
    Ok(if same {
        Whose::Asked(id)
    } else {
        Whose::Another(id)
    })
}
