module mtls-lab/tools

go 1.24.0
