# What differs between envoy.yaml on one machine and in containers: used by the Dockerfile, stage `gateway`.
s|address: 127\.0\.0\.1, port_value: 10000|address: 0.0.0.0, port_value: 10000|
s|address: 127\.0\.0\.1, port_value: 8090|address: store, port_value: 8090|
s|address: 127\.0\.0\.1, port_value: 8091|address: business, port_value: 8091|
s|filename: target/wasm32-wasip1/module/|filename: /etc/envoy/|
