//! The way of our spans from `tracing` to OpenTelemetry's SDK. Called by [`crate::logging`], which sets up the one
//! subscriber of the process.

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::queue::IntoQueue;
use super::switch::OwnSpansFilter;
use crate::build_info;

/// A layer that makes spans while they are turned on. It takes our spans alone.
pub(crate) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    // The configuration decides what is traced: the SDK would read variables here. The resource is the exporter's.
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(Resource::builder_empty().build())
        .with_span_processor(IntoQueue)
        .build();
    let scope = opentelemetry::InstrumentationScope::builder(env!("CARGO_PKG_NAME"));
    let tracer = provider.tracer_with_scope(scope.with_version(build_info::VERSION).build());
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_level(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(OwnSpansFilter)
}
