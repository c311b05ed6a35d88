//! The catalogue says of an event type that it never fires exactly where that is so.

use picket_events::EventType;
use picket_rules::Catalogue;

#[test]
fn what_the_tracer_reports_is_not_said_never_to_fire() {
    let catalogue = Catalogue::standard();
    let mut known = 0;
    for event_type in EventType::ALL {
        let Some(event) = catalogue.event(event_type.name()) else {
            continue;
        };
        known += 1;
        let never = &catalogue.event_info(event).never;
        assert!(never.is_none(), "{event_type:?}: {never:?}");
    }
    assert!(known > 30, "the catalogue knows {known} of the types");
}
