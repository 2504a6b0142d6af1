//! What a mirror, or whoever has stolen some of the keys, could serve.

mod attacks;
mod delegations;
mod repository;
mod workflow;
