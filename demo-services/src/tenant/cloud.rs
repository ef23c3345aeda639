//! Where a tenant's authority, Microsoft Graph and portal are: one of Microsoft's clouds, or a local authority.

use clap::ValueEnum;
use url::Url;

use super::record::Record;
use crate::loopback::is_loopback;

/// "Microsoft Graph Command Line Tools", which Microsoft has registered for every tenant but those of China: a public client with which
/// whoever may grant the permissions signs in. Its redirect URI for browsers is `http://localhost`, with any port.
pub const PUBLIC_CLIENT: &str = "14d82eec-204b-4c2f-b7e8-296a70dab67e";
/// Application id of Microsoft Graph, the same in every cloud.
pub const GRAPH_APP: &str = "00000003-0000-0000-c000-000000000000";

/// One of Microsoft's clouds ("National cloud deployments" of Microsoft Graph's documentation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Cloud {
    /// Everybody's.
    #[default]
    Global,
    /// US Government L4.
    #[value(name = "usgov")]
    UsGov,
    /// China, operated by 21Vianet.
    China,
}

/// Why there is no place to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloudError {
    /// A URL that is no origin.
    #[error("{0} must be an address such as http://localhost:8080, without a path")]
    NotPlain(&'static str),
    /// Plain http to another machine: tokens would be seen on the way.
    #[error("{0} must be https, or http on this machine")]
    NotSecure(&'static str),
    /// A record of a cloud that there is none of.
    #[error("the record is of a cloud that this program does not know")]
    Unknown,
    /// A record of servers that nobody has vouched for.
    #[error(
        "the record is of {authority} with the Graph at {graph}, neither a cloud of Microsoft nor on this machine; nothing was sent there. \
         If you trust both, name them with --authority and --graph"
    )]
    Foreign {
        /// Base URL of the record's authority.
        authority: String,
        /// Base URL of its Graph.
        graph: String,
    },
    /// A record of other servers than those that were named.
    #[error(
        "the record is of {authority} with the Graph at {graph}, not of what --authority and --graph name; nothing was sent there"
    )]
    Another {
        /// Base URL of the record's authority.
        authority: String,
        /// Base URL of its Graph.
        graph: String,
    },
    /// Whoever signs in at a cloud's page has a token for that cloud's Graph, and for nobody else.
    #[error(
        "a sign-in at {authority} is for the Graph at {graph} alone, and not for another one; nothing was sent there"
    )]
    NotItsGraph {
        /// Base URL of the cloud's authority.
        authority: &'static str,
        /// Base URL of the cloud's Graph.
        graph: &'static str,
    },
    /// A Graph of one's own belongs to an authority of one's own.
    #[error("--graph needs --authority: one of Microsoft's clouds has a Graph of its own")]
    GraphAlone,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Base URL of the authority, as it stands in issuers: no path.
    pub authority: Url,
    /// Base URL of Microsoft Graph, or of what speaks like it.
    pub graph: Url,
    /// What Graph's permissions are asked for: `<resource>/User.Read`. Without a trailing slash.
    pub graph_resource: String,
    /// The administrator's pages; none of a local authority.
    pub portal: Option<Url>,
}

impl Cloud {
    /// Its name on the command line and in the record.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::UsGov => "usgov",
            Self::China => "china",
        }
    }

    /// The one whose authority has this host name.
    pub(crate) fn of_login(host: &str) -> Option<Self> {
        let is_its = |cloud: &Self| {
            let [login, ..] = cloud.hosts();
            login.strip_prefix("https://") == Some(host)
        };
        Self::value_variants().iter().copied().find(is_its)
    }

    /// Base URL of its Microsoft Graph.
    pub(crate) fn graph(self) -> &'static str {
        let [_, graph, _] = self.hosts();
        graph
    }

    /// The one whose Graph this is.
    fn of_graph(url: &Url) -> Option<Self> {
        let is_its = |cloud: &Self| url.as_str().strip_suffix('/') == Some(cloud.graph());
        Self::value_variants().iter().copied().find(is_its)
    }

    /// Hosts in the `iss` of its access tokens, of version 2.0 and of 1.0 ("Access tokens in the Microsoft identity platform"). The older one
    /// is the same for the US Government.
    fn issuers(self) -> [&'static str; 2] {
        let [login, ..] = self.hosts();
        let older = match self {
            Self::Global | Self::UsGov => "https://sts.windows.net",
            Self::China => "https://sts.chinacloudapi.cn",
        };
        [login, older]
    }

    /// Authority, Graph and portal.
    fn hosts(self) -> [&'static str; 3] {
        match self {
            Self::Global => [
                "https://login.microsoftonline.com",
                "https://graph.microsoft.com",
                "https://entra.microsoft.com",
            ],
            Self::UsGov => [
                "https://login.microsoftonline.us",
                "https://graph.microsoft.us",
                "https://entra.microsoft.us",
            ],
            Self::China => [
                "https://login.partner.microsoftonline.cn",
                "https://microsoftgraph.chinacloudapi.cn",
                "https://entra.microsoftonline.cn",
            ],
        }
    }
}

impl Place {
    /// The cloud's, or a local authority that is its own Graph unless another is given. An `authority` that is a cloud's has that cloud's
    /// Graph.
    ///
    /// # Errors
    ///
    /// A URL with a path, user, query or fragment, or one of plain http beyond this machine; `graph` without `authority`, or another
    /// one than the authority's cloud has.
    pub fn new(
        cloud: Cloud,
        authority: Option<&Url>,
        graph: Option<&Url>,
    ) -> Result<Self, CloudError> {
        let Some(authority) = authority else {
            return match graph {
                Some(_) => Err(CloudError::GraphAlone),
                None => Self::of_cloud(cloud),
            };
        };
        let authority = checked("--authority", authority)?;
        let graph = graph.map(|graph| checked("--graph", graph)).transpose()?;
        if let Some(cloud) = authority.host_str().and_then(Cloud::of_login) {
            let [login, its_graph, _] = cloud.hosts();
            let place = Self::of_cloud(cloud)?;
            let is_its =
                authority == place.authority && graph.is_none_or(|graph| graph == place.graph);
            return match is_its {
                true => Ok(place),
                false => Err(CloudError::NotItsGraph {
                    authority: login,
                    graph: its_graph,
                }),
            };
        }
        Ok(Self {
            graph: graph.unwrap_or_else(|| authority.clone()),
            authority,
            graph_resource: cloud.graph().to_owned(),
            portal: None,
        })
    }

    fn of_cloud(cloud: Cloud) -> Result<Self, CloudError> {
        let [login, graph, portal] = cloud.hosts();
        let known = |text: &str| Url::parse(text).map_err(|_| CloudError::NotPlain("--cloud"));
        Ok(Self {
            authority: known(login)?,
            graph: known(graph)?,
            graph_resource: graph.to_owned(),
            portal: Some(known(portal)?),
        })
    }

    /// That of a record. The file may have come from anywhere, and tokens and secrets go where it says: servers that are neither one of
    /// Microsoft's clouds nor on this machine must be those that `authority` and `graph` name.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), a cloud of another name, or servers that are not named.
    pub fn of(
        record: &Record,
        authority: Option<&Url>,
        graph: Option<&Url>,
    ) -> Result<Self, CloudError> {
        let cloud = Cloud::from_str(&record.cloud, false).map_err(|_| CloudError::Unknown)?;
        let recorded = (&record.authority, &record.graph);
        if authority.is_some() || graph.is_some() {
            let named = Self::new(cloud, authority, graph)?;
            if (&named.authority, &named.graph) != recorded {
                return Err(CloudError::Another {
                    authority: record.authority.to_string(),
                    graph: record.graph.to_string(),
                });
            }
        }
        let place = Self::new(cloud, Some(&record.authority), Some(&record.graph))?;
        let here = is_loopback(&place.authority) && is_loopback(&place.graph);
        let is_own = place.portal.is_some();
        if authority.is_none() && !here && !is_own {
            return Err(CloudError::Foreign {
                authority: place.authority.into(),
                graph: place.graph.into(),
            });
        }
        Ok(place)
    }

    /// Microsoft's client for command lines, where there is one: what Microsoft registers for every tenant does not get to China.
    #[must_use]
    pub fn public_client(&self) -> Option<&'static str> {
        let cloud = self.authority.host_str().and_then(Cloud::of_login);
        (cloud != Some(Cloud::China)).then_some(PUBLIC_CLIENT)
    }

    /// Whether a token with this `aud` is for our Graph.
    #[must_use]
    pub fn is_graph(&self, audience: &str) -> bool {
        let audience = audience.trim_end_matches('/');
        audience == GRAPH_APP
            || audience == self.graph_resource
            || audience == self.graph.as_str().trim_end_matches('/')
    }

    /// Whether a token with this `iss` may be sent to our Graph: the place's authority issued it, or, where the Graph is a cloud's, that
    /// cloud did. What its issuer has nothing to do with could use it in its owner's name.
    #[must_use]
    pub fn is_issuer(&self, issuer: &str) -> bool {
        let Ok(issuer) = Url::parse(issuer) else {
            return false;
        };
        let cloud = Cloud::of_graph(&self.graph);
        let cloud = cloud.into_iter().flat_map(Cloud::issuers);
        let same = |known: Url| known.origin() == issuer.origin();
        same(self.authority.clone()) || cloud.filter_map(|text| Url::parse(text).ok()).any(same)
    }

    /// An endpoint of the tenant: `{authority}/{tenant}/oauth2/v2.0/{name}`.
    pub(crate) fn endpoint(&self, tenant: &str, name: &str) -> Url {
        let mut url = self.authority.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend([tenant, "oauth2", "v2.0", name]);
        }
        url
    }
}

fn checked(option: &'static str, url: &Url) -> Result<Url, CloudError> {
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(CloudError::NotPlain(option));
    }
    if url.scheme() == "http" && !is_loopback(url) {
        return Err(CloudError::NotSecure(option));
    }
    Ok(url.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn each_cloud_has_hosts_of_its_own() {
        for (cloud, login, graph) in [
            (
                Cloud::Global,
                "login.microsoftonline.com",
                "https://graph.microsoft.com",
            ),
            (
                Cloud::UsGov,
                "login.microsoftonline.us",
                "https://graph.microsoft.us",
            ),
            (
                Cloud::China,
                "login.partner.microsoftonline.cn",
                "https://microsoftgraph.chinacloudapi.cn",
            ),
        ] {
            let place = Place::new(cloud, None, None).unwrap();
            assert_eq!(place.authority.host_str(), Some(login));
            assert_eq!(place.graph_resource, graph);
            assert!(place.graph.as_str().starts_with(graph) && place.portal.is_some());
            assert!(place.is_graph(graph) && place.is_graph(GRAPH_APP));
            assert!(!place.is_graph("https://management.azure.com"));
            let named = Cloud::from_str(cloud.name(), false);
            assert_eq!(named, Ok(cloud));
        }
    }

    #[test]
    fn a_local_authority_is_its_own_graph() {
        let local = url("http://localhost:8080");
        let place = Place::new(Cloud::Global, Some(&local), None).unwrap();
        assert_eq!((&place.authority, &place.graph), (&local, &local));
        assert_eq!(place.graph_resource, "https://graph.microsoft.com");
        assert!(place.is_graph("https://graph.microsoft.com/") && place.portal.is_none());
        assert_eq!(
            place.endpoint("t", "token").as_str(),
            "http://localhost:8080/t/oauth2/v2.0/token"
        );
        let graph = url("https://127.0.0.1:9");
        let place = Place::new(Cloud::Global, Some(&local), Some(&graph)).unwrap();
        assert_eq!(place.graph, graph);
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        let new = |authority: &str| Place::new(Cloud::Global, Some(&url(authority)), None);
        for good in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "https://login.example",
        ] {
            assert!(new(good).is_ok(), "{good}");
        }
        let not_secure = Err(CloudError::NotSecure("--authority"));
        assert_eq!(new("http://login.example"), not_secure);
        assert_eq!(new("http://localhost.example"), not_secure);
        let not_plain = Err(CloudError::NotPlain("--authority"));
        for bad in [
            "http://localhost/x",
            "ftp://localhost",
            "https://u@login.example",
            "https://login.example/?x",
        ] {
            assert_eq!(new(bad), not_plain, "{bad}");
        }
    }

    fn record(cloud: &str, authority: &str, graph: &str) -> Record {
        let (authority, graph) = (url(authority), url(graph));
        Record::new("t".into(), cloud.into(), authority, graph, "p".into())
    }

    #[test]
    fn a_record_has_the_place_that_it_was_made_in() {
        for (cloud, local) in [
            (Cloud::China, None),
            (Cloud::UsGov, Some(url("http://localhost:8080"))),
        ] {
            let place = Place::new(cloud, local.as_ref(), None).unwrap();
            let record = record(cloud.name(), place.authority.as_str(), place.graph.as_str());
            assert_eq!(Place::of(&record, None, None), Ok(place));
        }
        let of = |record: &Record| Place::of(record, None, None);
        let mars = record("mars", "http://localhost:1", "http://localhost:1");
        assert_eq!(of(&mars), Err(CloudError::Unknown));
        let plain = record("global", "http://login.example", "http://localhost:1");
        assert_eq!(of(&plain), Err(CloudError::NotSecure("--authority")));
    }

    #[test]
    fn a_record_of_other_servers_needs_somebody_to_vouch_for_them() {
        const LOGIN: &str = "https://login.microsoftonline.com";
        const GRAPH: &str = "https://graph.microsoft.com";
        const EVIL: &str = "https://evil.example";
        const LOCAL: &str = "http://localhost:8080";
        let of = |(authority, graph), named: Option<(&str, Option<&str>)>| {
            let record = record("global", authority, graph);
            let (authority, graph) = named.unzip();
            let (authority, graph) = (authority.map(url), graph.flatten().map(url));
            Place::of(&record, authority.as_ref(), graph.as_ref())
        };
        for recorded in [
            (LOGIN, GRAPH),
            (LOCAL, LOCAL),
            (LOCAL, "http://127.0.0.1:9"),
        ] {
            assert!(of(recorded, None).is_ok(), "{recorded:?}");
        }
        // Each half alone is enough: a token goes to one, a secret to the other.
        for recorded in [(EVIL, EVIL), (EVIL, GRAPH), (LOCAL, EVIL), (EVIL, LOCAL)] {
            let (authority, graph) = recorded;
            let told = of(recorded, None).unwrap_err();
            assert!(matches!(told, CloudError::Foreign { .. }), "{told}");
            let told = told.to_string();
            assert!(told.contains(authority) && told.contains(graph), "{told}");
            let place = of(recorded, Some((authority, Some(graph)))).unwrap();
            assert_eq!(
                (&place.authority, &place.graph),
                (&url(authority), &url(graph))
            );
        }
        assert!(of((EVIL, EVIL), Some((EVIL, None))).is_ok());
        assert!(of((LOGIN, GRAPH), Some((LOGIN, None))).is_ok());
        // Nobody can vouch for these.
        for graph in [EVIL, LOCAL, LOGIN, "https://graph.microsoft.us"] {
            for named in [None, Some((LOGIN, Some(graph)))] {
                let told = of((LOGIN, graph), named).unwrap_err();
                assert!(matches!(told, CloudError::NotItsGraph { .. }), "{told}");
            }
        }
        for (recorded, named) in [
            ((LOGIN, GRAPH), (EVIL, None)),
            ((LOCAL, LOCAL), ("http://localhost:8081", None)),
            ((EVIL, EVIL), (EVIL, Some(GRAPH))),
            ((EVIL, EVIL), ("https://good.example", Some(EVIL))),
        ] {
            let told = of(recorded, Some(named)).unwrap_err();
            assert!(
                matches!(told, CloudError::Another { .. }),
                "{named:?}: {told}"
            );
        }
    }

    #[test]
    fn a_token_goes_where_its_issuer_has_sent_it() {
        let issued = |place: &Place, issuers: [&str; 7]| {
            issuers.map(|issuer| place.is_issuer(&format!("{issuer}/tenant/v2.0")))
        };
        const ISSUERS: [&str; 7] = [
            "https://login.microsoftonline.com",
            "https://sts.windows.net",
            "https://login.microsoftonline.us",
            "https://sts.chinacloudapi.cn",
            "http://localhost:8080",
            "http://localhost:8081",
            "https://login.example",
        ];
        let local = url("http://localhost:8080");
        let (login, graph) = (
            url("https://login.example"),
            url("https://graph.microsoft.com"),
        );
        for (place, good) in [
            (Place::new(Cloud::Global, None, None), vec![0, 1]),
            (Place::new(Cloud::UsGov, None, None), vec![1, 2]),
            (Place::new(Cloud::China, None, None), vec![3]),
            (Place::new(Cloud::Global, Some(&local), None), vec![4]),
            // A domain of one's own, and the cloud's Graph.
            (
                Place::new(Cloud::Global, Some(&login), Some(&graph)),
                vec![0, 1, 6],
            ),
        ] {
            let place = place.unwrap();
            let expected: [bool; 7] = std::array::from_fn(|index| good.contains(&index));
            assert_eq!(issued(&place, ISSUERS), expected, "{place:?}");
            assert!(!place.is_issuer("") && !place.is_issuer("data:x"));
        }
    }

    #[test]
    fn only_china_lacks_the_client_of_microsoft() {
        let client = |cloud, authority: Option<&str>| {
            let authority = authority.map(url);
            let place = Place::new(cloud, authority.as_ref(), None).unwrap();
            place.public_client()
        };
        for cloud in [Cloud::Global, Cloud::UsGov] {
            assert_eq!(client(cloud, None), Some(PUBLIC_CLIENT));
        }
        assert_eq!(client(Cloud::China, None), None);
        assert_eq!(
            client(Cloud::China, Some("http://localhost:1")),
            Some(PUBLIC_CLIENT)
        );
    }

    #[test]
    fn a_cloud_is_not_given_another_graph() {
        let graph = url("https://graph.example");
        let refused = Place::new(Cloud::Global, None, Some(&graph));
        assert_eq!(refused, Err(CloudError::GraphAlone));
        let local = url("http://localhost:1");
        let refused = Place::new(
            Cloud::Global,
            Some(&local),
            Some(&url("http://graph.example")),
        );
        assert_eq!(refused, Err(CloudError::NotSecure("--graph")));
    }
}
