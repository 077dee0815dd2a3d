//! The configuration, valid by construction: `sidespan-config` makes it of the
//! document.

use crate::export::batch::BatchConfig;
use crate::export::pipeline::DeliveryConfig;
use crate::export::settings::{ExporterConfig, Protocol};
use crate::propagation::composite::Propagator;
use crate::propagation::settings::{Carrier, Incoming};
use crate::recording::settings::SpanConfig;
use crate::sampling::rules::Rule;
use crate::sampling::sampler::Sampler;
use crate::sampling::tail_keep::Keep;
use crate::span::attributes::OwnedValue;
use crate::span::custom_tags::CustomTag;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Empty: detected.
    pub service_name: String,
    /// Of the resource; they win over detected ones.
    pub resource_attributes: Vec<(String, OwnedValue)>,
    /// Where spans go.
    pub exporter: ExporterConfig,
    /// How they wait.
    pub batch: BatchConfig,
    /// How contexts are read and written.
    pub propagator: Propagator,
    /// How a context that came in is taken.
    pub incoming: Incoming,
    /// How a context is handed on by a host for which it makes a difference.
    pub carrier: Carrier,
    /// The response header for the trace id, in lower case.
    pub response_header: Option<String>,
    /// Whether there is a span where no rule decides.
    pub sampler: Sampler,
    /// The first with an action that matches decides.
    pub rules: Vec<Rule>,
    /// What is kept though it was not sampled.
    pub keep: Keep,
    /// Attributes that the configuration asks for.
    pub custom_tags: Vec<CustomTag>,
    /// What spans are like.
    pub span: SpanConfig,
    /// Whether routes decide by their metadata.
    pub route_metadata: bool,
}

/// What a route says of its own.
#[derive(Clone, Debug, Default)]
pub struct RouteConfig {
    /// In place of the filter's.
    pub sampler: Option<Sampler>,
    /// They come before the filter's.
    pub rules: Vec<Rule>,
    /// Beside the filter's, or in the place of those with the same name.
    pub custom_tags: Vec<CustomTag>,
}

impl Config {
    /// Returns what a delivery of these spans is made of.
    pub fn delivery(&self) -> DeliveryConfig {
        DeliveryConfig {
            exporter: self.exporter.clone(),
            batch: self.batch.clone(),
            service_name: self.service_name.clone(),
            resource_attributes: self.resource_attributes.clone(),
        }
    }

    /// The configuration on one line, for the log: where spans go, and what
    /// decides.
    pub fn summary(&self) -> String {
        let exporter = &self.exporter;
        let protocol = match exporter.protocol {
            Protocol::Grpc => "otlp_grpc",
            Protocol::Http { .. } => "otlp_http",
        };
        let rules = self.rules.len();
        let s = if rules == 1 { "" } else { "s" };
        format!(
            "exporter {protocol} to cluster {:?}, sampler {}, {rules} rule{s}",
            exporter.cluster, self.sampler
        )
    }

    /// The configuration for what takes a route.
    pub fn on_route(&self, route: &RouteConfig) -> Self {
        let mut config = self.clone();
        if let Some(sampler) = &route.sampler {
            config.sampler = sampler.clone();
        }
        config.rules.splice(0..0, route.rules.iter().cloned());
        let replaced = |tag: &CustomTag| route.custom_tags.iter().any(|own| own.name == tag.name);
        config.custom_tags.retain(|tag| !replaced(tag));
        config.custom_tags.extend(route.custom_tags.iter().cloned());
        config
    }
}
