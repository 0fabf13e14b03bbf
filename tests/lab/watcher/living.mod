module mtls-lab/watcher

go 1.24.3

require (
	github.com/dapr/kit v0.15.4
	github.com/spiffe/go-spiffe/v2 v2.5.0
)

require (
	github.com/fsnotify/fsnotify v1.7.0 // indirect
	github.com/go-jose/go-jose/v4 v4.0.5 // indirect
	github.com/sirupsen/logrus v1.9.3 // indirect
	github.com/zeebo/errs v1.4.0 // indirect
	golang.org/x/crypto v0.39.0 // indirect
	golang.org/x/sys v0.33.0 // indirect
	k8s.io/utils v0.0.0-20230726121419-3b25d923346b // indirect
)
