//! End-to-end tests of Sidespan: what a user sees through a real Envoy. All of
//! them are in `tests/`.
