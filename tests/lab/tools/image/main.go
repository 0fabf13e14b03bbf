// Command image writes one OCI archive with an image for each NAME=BINARY that it is given:
// a single layer that holds the static binary at the root, a user that is not root, and /tmp.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const user = "65532"

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func main() {
	out := flag.String("out", "", "archive to write")
	flag.Parse()
	file, err := os.Create(*out)
	check(err)
	archive := tar.NewWriter(file)
	write(archive, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	var manifests []descriptor
	for _, spec := range flag.Args() {
		name, binary, found := strings.Cut(spec, "=")
		if !found {
			log.Fatalf("%q is not NAME=BINARY", spec)
		}
		manifests = append(manifests, image(archive, name, binary))
	}
	write(archive, "index.json", encode(map[string]any{"schemaVersion": 2, "manifests": manifests}))
	check(archive.Close())
	check(file.Close())
}

func image(archive *tar.Writer, name, binary string) descriptor {
	layer := blob(archive, "application/vnd.oci.image.layer.v1.tar", layer(binary))
	config := blob(archive, "application/vnd.oci.image.config.v1+json", encode(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"User":       user,
			"WorkingDir": "/",
			"Entrypoint": []string{"/" + filepath.Base(binary)},
			"Env":        []string{"PATH=/", "HOME=/tmp"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest}},
	}))
	manifest := blob(archive, "application/vnd.oci.image.manifest.v1+json", encode(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        config,
		"layers":        []descriptor{layer},
	}))
	manifest.Annotations = map[string]string{"io.containerd.image.name": name}
	return manifest
}

func layer(binary string) []byte {
	content, err := os.ReadFile(binary)
	check(err)
	var buffer bytes.Buffer
	layer := tar.NewWriter(&buffer)
	for _, dir := range []struct {
		name string
		mode int64
	}{{"etc/", 0o755}, {"tmp/", 0o1777}} {
		check(layer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode}))
	}
	write(layer, "etc/passwd", []byte("root:x:0:0:root:/:/none\nnonroot:x:"+user+":"+user+":nonroot:/tmp:/none\n"))
	check(layer.WriteHeader(&tar.Header{Name: filepath.Base(binary), Mode: 0o755, Size: int64(len(content))}))
	_, err = layer.Write(content)
	check(err)
	check(layer.Close())
	return buffer.Bytes()
}

func blob(archive *tar.Writer, mediaType string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	write(archive, "blobs/sha256/"+digest, content)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(content)}
}

func write(archive *tar.Writer, name string, content []byte) {
	check(archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := archive.Write(content)
	check(err)
}

func encode(value any) []byte {
	content, err := json.Marshal(value)
	check(err)
	return content
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}
