//! Requests that Sidespan's header writes can send to another cluster.
//!
//! Each header write of a Wasm filter makes Envoy select the route again. A
//! filter that changes a request and keeps the route then has its change
//! matched by the routes, which it has not without Sidespan.

use super::position::Position;
use crate::report::Report;
use crate::yaml::Node;

/// Checks the filters and the routes of a connection manager.
pub(super) fn check(position: &Position<'_>, tree: &Node, report: &mut Report) {
    if tree
        .path(&["propagation", "outgoing"])
        .is_some_and(|outgoing| outgoing.is("unchanged"))
    {
        return;
    }
    let Some(routes) = position.connection_manager.field("route_config") else {
        return;
    };
    let routes = Routes::read(routes);
    let filters = position.before.iter().chain(position.after);
    let conflict = filters
        .filter_map(|filter| Some((filter, routes.affected_by(&writes_of(filter)?)?)))
        .next();
    if let Some((filter, affected)) = conflict {
        let name = filter.text_of("name").unwrap_or("without a name");
        report.fault(
            position.filter.line,
            format!(
                "propagation.carrier: the filter {name:?} {affected}, and Sidespan's header writes make Envoy select the route again, so a request can go to another cluster than without Sidespan, set propagation.carrier: filter_state"
            ),
        );
    }
}

/// The request headers that a filter changes without a new route selection.
#[derive(Default)]
struct Writes {
    names: Vec<String>,
    /// Also others, which the configuration does not name.
    others: bool,
}

impl Writes {
    fn others() -> Self {
        Self {
            names: Vec::new(),
            others: true,
        }
    }

    fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = names.into_iter().map(str::to_ascii_lowercase);
        Self {
            names: names.collect(),
            others: false,
        }
    }
}

/// What a filter changes, by the type of its configuration; `None` for the
/// types that change no request header, and for those that clear the route
/// cache themselves (`wasm`, `golang`): they select the same route with and
/// without Sidespan.
fn writes_of(filter: &Node) -> Option<Writes> {
    if is_true(filter, "disabled") {
        return None;
    }
    let config = filter.field("typed_config")?;
    let kind = config.text_of("type_url").or(config.text_of("@type"))?;
    // In a TypedStruct.
    let config = config
        .field("value")
        .filter(|_| config.field("type_url").is_some())
        .unwrap_or(config);
    let (_, kind) = kind.split_once("envoy.extensions.filters.http.")?;
    let (kind, _) = kind.split_once('.')?;
    match kind {
        "header_mutation" => Some(header_mutation(config)),
        "header_to_metadata" => Some(Writes::named(
            config
                .list("request_rules")
                .iter()
                .filter(|rule| is_true(rule, "remove"))
                .filter_map(|rule| rule.text_of("header")),
        )),
        "lua" => lua(config),
        "ext_authz" => ext_authz(config),
        "ext_proc" => ext_proc(config),
        "jwt_authn" => Some(jwt_authn(config)),
        "oauth2" => is_true(config.field("config")?, "forward_bearer_token")
            .then(|| Writes::named(["authorization"])),
        "grpc_json_transcoder" => {
            is_true(config, "match_incoming_request_route").then(|| Writes::named([":path"]))
        }
        // A module's filter clears the route cache only if it asks for it.
        "dynamic_modules" => {
            let module = config.path(&["dynamic_module_config", "name"]);
            (!module.is_some_and(|name| name.is("sidespan"))).then(Writes::others)
        }
        _ => None,
    }
}

fn is_true(node: &Node, name: &str) -> bool {
    node.field(name).is_some_and(|value| value.is("true"))
}

fn header_mutation(config: &Node) -> Writes {
    let mutations = config.field("mutations");
    let mutations = mutations.map_or(&[][..], |mutations| mutations.list("request_mutations"));
    Writes::named(mutations.iter().filter_map(|mutation| {
        mutation
            .path(&["append", "header", "key"])
            .or(mutation.path(&["remove"]))?
            .text()
    }))
}

/// Lua clears the route cache unless it is told not to.
fn lua(config: &Node) -> Option<Writes> {
    let clears = config.field("clear_route_cache");
    if !clears.is_some_and(|clears| clears.is("false")) {
        return None;
    }
    let has = |words: &'static [&str]| {
        let test = |text: &str| words.iter().any(|word| text.contains(word));
        config.any_text(&test)
    };
    let is_file = config.path(&["default_source_code", "filename"]).is_some()
        || config.field("source_codes").is_some();
    if !is_file && !has(&[":add(", ":replace(", ":remove("]) {
        return None;
    }
    let mut writes = Writes::others();
    if has(&[":path"]) {
        writes.names.push(":path".to_owned());
    }
    if has(&[":authority"]) {
        writes.names.push(":authority".to_owned());
    }
    Some(writes)
}

/// An HTTP authorizer's headers go upstream only if they are allowed to.
fn ext_authz(config: &Node) -> Option<Writes> {
    if is_true(config, "clear_route_cache") {
        return None;
    }
    let Some(service) = config.field("http_service") else {
        return Some(Writes::others());
    };
    let response = service.field("authorization_response")?;
    let mut writes = Writes::default();
    for name in [
        "allowed_upstream_headers",
        "allowed_upstream_headers_to_append",
    ] {
        let allowed = response.field(name);
        for pattern in allowed.map_or(&[][..], |allowed| allowed.list("patterns")) {
            match pattern.text_of("exact") {
                Some(exact) => writes.names.push(exact.to_ascii_lowercase()),
                None => writes.others = true,
            }
        }
    }
    Some(writes)
}

fn ext_proc(config: &Node) -> Option<Writes> {
    let mode = config.path(&["processing_mode", "request_header_mode"]);
    let never = mode.is_some_and(|mode| mode.is("SKIP"))
        || is_true(config, "observability_mode")
        || config
            .field("route_cache_action")
            .is_some_and(|action| action.is("CLEAR"));
    (!never).then(Writes::others)
}

/// Headers with claims or the payload, and the token, which is removed unless
/// `forward` is true.
fn jwt_authn(config: &Node) -> Writes {
    let providers = config.field("providers");
    let providers = providers.map_or(&[][..], |providers| providers.entries());
    let mut names = Vec::new();
    for provider in providers.iter().map(|entry| &entry.value) {
        if is_true(provider, "clear_route_cache") {
            continue;
        }
        names.extend(provider.text_of("forward_payload_header"));
        let claims = provider.list("claim_to_headers").iter();
        names.extend(claims.filter_map(|claim| claim.text_of("header_name")));
        if is_true(provider, "forward") {
            continue;
        }
        let sources = provider.list("from_headers");
        names.extend(sources.iter().filter_map(|source| source.text_of("name")));
        if sources.is_empty() && provider.list("from_params").is_empty() {
            names.push("authorization");
        }
    }
    Writes::named(names)
}

/// What the routes of a connection manager depend on.
#[derive(Default)]
struct Routes<'a> {
    /// The headers that routes match on, each with its route.
    headers: Vec<(&'a str, &'a Node)>,
    by_path: bool,
    by_authority: bool,
}

impl<'a> Routes<'a> {
    fn read(config: &'a Node) -> Self {
        let mut read = Self::default();
        for host in config.list("virtual_hosts") {
            let domains = host.list("domains");
            read.by_authority |= domains.iter().any(|domain| !domain.is("*"));
            let routes = host.list("routes");
            for route in routes {
                let Some(condition) = route.field("match") else {
                    continue;
                };
                let headers = condition.list("headers").iter();
                let names = headers.filter_map(|header| header.text_of("name"));
                read.headers
                    .extend(names.map(|name| (name, route.as_ref())));
                let is_any = condition
                    .field("prefix")
                    .is_some_and(|prefix| prefix.is("/"));
                read.by_path |= !is_any;
            }
        }
        read
    }

    /// What a filter's writes change for the routes, to be put behind its name.
    fn affected_by(&self, writes: &Writes) -> Option<String> {
        let has = |name: &str| writes.names.iter().any(|written| written == name);
        if self.by_path && has(":path") {
            return Some("changes the path, which routes match on".to_owned());
        }
        if self.by_authority && (has(":authority") || has("host")) {
            return Some("changes the authority, which selects the virtual host".to_owned());
        }
        let is_written = |name: &str| writes.others || has(&name.to_ascii_lowercase());
        let (name, route) = self.headers.iter().find(|(name, _)| is_written(name))?;
        let can = if writes.others {
            "can change"
        } else {
            "changes"
        };
        let route = match (
            route.path(&["route", "cluster"]).and_then(Node::text),
            route.text_of("name"),
        ) {
            (Some(cluster), _) => format!("a route to the cluster {cluster:?}"),
            (None, Some(name)) => format!("the route {name:?}"),
            (None, None) => "a route".to_owned(),
        };
        Some(format!(
            "{can} the header {name:?}, which {route} matches on"
        ))
    }
}
