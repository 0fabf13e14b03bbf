module mtls-lab/apps

go 1.24.0
