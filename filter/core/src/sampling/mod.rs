//! Sampling: the policy that decides, and the rules and samplers that it asks.

pub mod matcher;
pub mod policy;
pub mod rules;
pub mod sampler;
pub mod tail_keep;
