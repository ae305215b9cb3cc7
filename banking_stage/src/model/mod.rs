mod simulation;
pub use simulation::*;
