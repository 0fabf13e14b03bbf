//go:build living

package main

import (
	"github.com/dapr/kit/crypto/spiffe/trustanchors"
	"github.com/dapr/kit/logger"
)

// watched is the source of Dapr 1.15. It watches the file's directory and sees every change.
func watched(ca string) anchors {
	return trustanchors.FromFile(trustanchors.OptionsFile{Log: logger.NewLogger("watcher"), Path: ca})
}
