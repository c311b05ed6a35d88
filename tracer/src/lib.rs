//! Filled by later commits.
