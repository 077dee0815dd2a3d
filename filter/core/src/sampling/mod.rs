//! Sampling: the policy that decides, and the rules and samplers that it asks.

pub mod matcher;
pub mod path_index;
pub mod policy;
pub mod rate_limit;
pub mod ratio;
pub mod request;
pub mod rules;
pub mod sampler;
pub mod tail_keep;
