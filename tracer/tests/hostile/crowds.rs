//! More processes, threads and descriptors than the tracer can keep a hold of.

use super::*;
