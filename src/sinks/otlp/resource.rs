//! What every request says about where its content comes from: the resource and the instrumentation scope.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::build_info;

/// The attribute that names an environment
/// (<https://opentelemetry.io/docs/specs/semconv/resource/deployment-environment/>).
const ENVIRONMENT: &str = "deployment.environment.name";

/// Returns these attributes, and `service.version` and `service.instance.id` (the latter if there is one) as far as they
/// lack them.
pub fn identified(attributes: &[(String, String)], instance_id: Option<&str>) -> Vec<(String, String)> {
    let mut attributes = attributes.to_vec();
    for (key, value) in [("service.version", Some(build_info::VERSION)), ("service.instance.id", instance_id)] {
        if let Some(value) = value
            && attributes.iter().all(|(known, _)| known != key)
        {
            attributes.push((key.to_owned(), value.to_owned()));
        }
    }
    attributes
}

/// Returns the resource with these attributes, [`identified`].
pub fn resource(attributes: &[(String, String)], instance_id: &str) -> Resource {
    let attributes = identified(attributes, Some(instance_id));
    let attributes = attributes.iter().map(|(key, value)| text(key, value)).collect();
    Resource { attributes, ..Resource::default() }
}

/// Returns the same for what an environment has to tell. Its name is added unless the attributes name another.
pub fn of_environment(attributes: &[(String, String)], instance_id: &str, environment: &str) -> Resource {
    let mut resource = resource(attributes, instance_id);
    if resource.attributes.iter().all(|attribute| attribute.key != ENVIRONMENT) {
        resource.attributes.push(text(ENVIRONMENT, environment));
    }
    resource
}

/// Returns the scope: this crate.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: build_info::VERSION.to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Returns an attribute with a text as its value.
pub fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(resource: &Resource) -> Vec<(String, String)> {
        let value = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.clone()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{other:?} is no text"),
        };
        resource.attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn the_resource_names_the_service_its_version_and_the_instance_unless_told_otherwise() {
        let given = [pair("service.name", "n"), pair("region", "eu")];
        let expected = [&given[..], &[pair("service.version", build_info::VERSION), pair("service.instance.id", "i")]];
        assert_eq!(attributes(&resource(&given, "i")), expected.concat());
        let given = [pair("service.name", "n"), pair("service.instance.id", "own"), pair("service.version", "7")];
        assert_eq!(attributes(&resource(&given, "i")), given);
    }

    #[test]
    fn an_environment_is_named_unless_told_otherwise() {
        let given = [pair("service.instance.id", "own"), pair("service.version", "7")];
        let named = |name: &str| [&given[..], &[pair("deployment.environment.name", name)]].concat();
        assert_eq!(attributes(&of_environment(&given, "i", "production")), named("production"));
        assert_eq!(attributes(&of_environment(&named("other"), "i", "production")), named("other"));
    }
}
