//! Values among a few, each with its name.

use crate::reader::{At, Read};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_info::MetadataKind;
use sidespan_core::propagation::format::Format;
use sidespan_core::propagation::settings::{Carrier, Incoming, UnsampledContext};
use sidespan_core::recording::settings::Vocabulary;
use sidespan_core::sampling::ratio::Ratio;
use sidespan_core::sampling::rules::Action;
use sidespan_core::sampling::sampler::Root;
use sidespan_core::span::custom_tags::TagType;
use sidespan_core::span::span::SpanKind;

/// Whether a body is compressed.
#[derive(Clone, Copy)]
pub(crate) struct Compression(pub(crate) bool);

/// A span's kind; `None` for auto.
#[derive(Clone, Copy)]
pub(crate) struct KindName(pub(crate) Option<SpanKind>);

/// A sampler by its name; whether a parent's decision counts, and what decides
/// otherwise, by whichever ratio.
#[derive(Clone, Copy)]
pub(crate) struct SamplerType(pub(crate) bool, pub(crate) Root);

/// A value among a few, each with its name.
pub(crate) trait Named: Copy + 'static {
    /// What a value is, as `a sampler`.
    const WHAT: &'static str;
    /// Their names.
    const NAMES: &'static [&'static str];
    /// In the order of the names.
    const VALUES: &'static [Self];

    /// The value with a name.
    fn by_name(name: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|known| *known == name)?;
        Self::VALUES.get(index).copied()
    }
}

macro_rules! named {
    ($($type:ty: $what:literal { $($name:literal => $value:expr,)+ })+) => {
        $(impl Named for $type {
            const WHAT: &'static str = $what;
            const NAMES: &'static [&'static str] = &[$($name),+];
            const VALUES: &'static [Self] = &[$($value),+];
        }

        impl Read for $type {
            fn read(at: &At<'_>) -> Option<Self> {
                Self::VALUES.get(at.one_of(Self::WHAT, Self::NAMES)?).copied()
            }
        }

        #[cfg(feature = "schema")]
        impl crate::json_schema::Schema for $type {
            fn schema(_: &mut crate::json_schema::Definitions) -> serde_json::Value {
                serde_json::json!({ "enum": Self::NAMES })
            }
        })+
    };
}

named! {
    SamplerType: "a sampler" {
        "always_on" => Self(false, Root::AlwaysOn),
        "always_off" => Self(false, Root::AlwaysOff),
        "traceidratio" => Self(false, Root::TraceIdRatio(Ratio::ONE)),
        "parentbased_always_on" => Self(true, Root::AlwaysOn),
        "parentbased_always_off" => Self(true, Root::AlwaysOff),
        "parentbased_traceidratio" => Self(true, Root::TraceIdRatio(Ratio::ONE)),
    }
    Action: "an action" {
        "disable" => Self::Disable,
        "force" => Self::Force,
        "sample" => Self::Sample(Ratio::ONE),
    }
    Format: "a format" {
        "tracecontext" => Self::TraceContext,
        "b3" => Self::B3,
        "b3multi" => Self::B3Multi,
    }
    Incoming: "a policy" {
        "continue" => Self::Continue,
        "restart" => Self::Restart,
        "link" => Self::Link,
        "resample" => Self::Resample,
        "require" => Self::Require,
    }
    UnsampledContext: "a treatment of unsampled contexts" {
        "unchanged" => Self::Unchanged,
        "rewrite" => Self::Rewrite,
    }
    Carrier: "a carrier" {
        "headers" => Self::Headers,
        "filter_state" => Self::FilterState,
    }
    Direction: "a direction" {
        "inbound" => Self::Inbound,
        "outbound" => Self::Outbound,
    }
    KindName: "a kind" {
        "auto" => Self(None),
        "server" => Self(Some(SpanKind::Server)),
        "client" => Self(Some(SpanKind::Client)),
    }
    Compression: "a compression" {
        "none" => Self(false),
        "gzip" => Self(true),
    }
    Vocabulary: "a set of attributes" {
        "stable" => Self::Stable,
        "envoy" => Self::Envoy,
        "both" => Self::Both,
    }
    MetadataKind: "a kind of metadata" {
        "request" => Self::Request,
        "route" => Self::Route,
        "cluster" => Self::Cluster,
        "host" => Self::Host,
    }
    TagType: "a type" {
        "string" => Self::String,
        "int" => Self::Int,
        "double" => Self::Double,
        "bool" => Self::Bool,
    }
}
