//! A configuration document.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sidespan_core::host::environment::Environment;
use sidespan_core::tracer::Tracer;

/// A host that knows nothing of itself.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn node(&self, _: &[&str]) -> Option<String> {
        None
    }
}

fuzz_target!(|document: &[u8]| {
    let parsed = sidespan_config::parse(document);
    assert_eq!(
        format!("{parsed:?}"),
        format!("{:?}", sidespan_config::parse(document))
    );
    match parsed {
        Ok(config) => {
            assert!(!config.exporter.cluster.is_empty());
            assert!(!config.exporter.authority.is_empty());
            assert!((1..=u128::from(u32::MAX)).contains(&config.exporter.timeout.as_millis()));
            let batch = &config.batch;
            assert!((1..=batch.max_queue_size).contains(&batch.max_export_batch_size));
            assert!(batch.max_queue_bytes > 0);
            assert!(batch.max_concurrent_exports > 0);
            assert!(!batch.schedule_delay.is_zero());
            for formats in [&config.propagator.extract, &config.propagator.inject] {
                for (i, format) in formats.iter().enumerate() {
                    assert!(!formats[..i].contains(format));
                }
            }
            let tracer = Tracer::new(config.clone(), &Nowhere, [0; 32]);
            assert!(tracer.is_idle());
        }
        Err(faults) => {
            assert!(faults.iter().next().is_some());
            assert!(faults.iter().all(|fault| !fault.message.is_empty()));
            let line = faults.to_string();
            assert!(!line.contains('\n'));
            assert!(faults.iter().all(|fault| line.contains(&fault.message)));
        }
    }
});
