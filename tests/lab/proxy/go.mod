module mtls-lab/proxy

go 1.24.0
