//! A request, once the front door has understood it: who wants what of which object.
use http::HeaderMap;
use std::collections::BTreeMap;

/// Who asks (`authentication.k8s.io/v1` `UserInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name: `system:node:n1`.
    pub name: String,
    /// Tells users of one name apart over time.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is wanted, in the words of authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// All of a kind.
    List,
    /// Changes as they come.
    Watch,
    /// A new one.
    Create,
    /// Another state of one.
    Update,
    /// A change to one.
    Patch,
    /// One goes.
    Delete,
    /// All of a kind go.
    DeleteCollection,
    /// A subresource that is a connection: exec, attach, portforward, proxy.
    Connect,
}

impl Verb {
    /// As policies and discovery have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Connect => "connect",
        }
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who asks.
    pub user: User,
    /// What is wanted.
    pub verb: Verb,
    /// The API group; empty for the core.
    pub group: String,
    /// Its version.
    pub version: String,
    /// The plural of the kind.
    pub resource: String,
    /// `status`, or nothing.
    pub subresource: String,
    /// The namespace; empty where there is none, or for all of them.
    pub namespace: String,
    /// The object's name; empty for the collection.
    pub name: String,
    /// What follows the subresource (proxy).
    pub rest: String,
    /// The query, in order, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
}

impl Call {
    /// The first value of a query parameter; an empty one is none.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

impl User {
    /// The master itself: its controllers and edges may do everything.
    #[must_use]
    pub fn master() -> Self {
        User {
            name: "system:apiserver".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..User::default()
        }
    }
}

impl Call {
    /// About all objects of a resource; for programs inside the master, and the start of every other call.
    #[must_use]
    pub fn new(user: User, verb: Verb, group: &str, version: &str, resource: &str) -> Self {
        Call {
            user,
            verb,
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: String::new(),
            name: String::new(),
            rest: String::new(),
            query: Vec::new(),
            headers: HeaderMap::new(),
        }
    }
    /// About those in a namespace.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }
    /// About the object of this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }
    /// About this subresource.
    #[must_use]
    #[expect(
        clippy::should_implement_trait,
        reason = "a subresource, as in kubectl's own words; nothing is subtracted"
    )]
    pub fn sub(mut self, subresource: &str) -> Self {
        subresource.clone_into(&mut self.subresource);
        self
    }
    /// With one more query parameter.
    #[must_use]
    pub fn with(mut self, parameter: &str, value: &str) -> Self {
        self.query.push((parameter.to_owned(), value.to_owned()));
        self
    }
}
