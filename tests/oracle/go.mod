module oracle

go 1.26

// As the lab builds Sentry (its module says go 1.24) and kube-apiserver.
godebug default=go1.24
