//! Stage 1: asks the API and makes sense of its answers. It decides nothing and remembers nothing that must survive.

pub mod payload;
pub mod wire;
