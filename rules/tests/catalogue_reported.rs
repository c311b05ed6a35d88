//! The catalogue says of an event type that it never fires exactly where that is so.

use picket_events::EventType;
use picket_events::interest::NOT_REPORTED;
use picket_rules::Catalogue;

#[test]
fn what_the_tracer_does_not_report_is_said_never_to_fire() {
    let catalogue = Catalogue::standard();
    for event_type in EventType::ALL {
        let Some(event) = catalogue.event(event_type.name()) else {
            continue;
        };
        let never = catalogue.event_info(event).never.is_some();
        assert_eq!(never, NOT_REPORTED.contains(event_type), "{event_type:?}");
    }
}
