//! What a real API server makes of Picket.

use picket_tests::kube::ControlPlane;

#[test]
fn starts() {
    let namespace = ControlPlane::shared().namespace("a", &[]);
    assert!(namespace.starts_with("a-"));
}
