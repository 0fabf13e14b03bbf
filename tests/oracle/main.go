// Oracle gives Go's own verdict on certificates: Dapr is written in Go, so what Go's crypto/x509 accepts is what a mesh accepts.
//
//	oracle verify                 reads cases as JSON lines, writes verdicts
//	oracle parse                  reads {"der": base64} lines, writes whether each is a certificate
//	oracle pem                    reads {"pem": base64} lines, writes what Dapr's reader makes of them
//	oracle generate SEED COUNT    writes cases of random shape with their verdicts
//	oracle named                  writes the cases that have a name, with their verdicts
//	oracle version                the Go release it was built with
package main

import (
	"bufio"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Case is one question: certificates are DER, which JSON carries as base64.
type Case struct {
	Name    string    `json:"name,omitempty"`
	Anchors [][]byte  `json:"anchors"`
	Chain   [][]byte  `json:"chain"`
	Leaf    []byte    `json:"leaf"`
	Profile string    `json:"profile"`
	At      time.Time `json:"at"`
}

// Verdict is the answer.
type Verdict struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	// Until is the latest moment up to which some path that is valid now stays valid.
	Until *time.Time `json:"until,omitempty"`
}

// Judged is a case with its verdict.
type Judged struct {
	Case
	Verdict
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if err := checkSettings(); err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	lines := json.NewEncoder(out)
	switch {
	case len(args) == 1 && args[0] == "verify":
		return each(func(c Case) error { return lines.Encode(judge(c)) })
	case len(args) == 1 && args[0] == "parse":
		return each(func(question struct{ Der []byte }) error {
			_, err := x509.ParseCertificate(question.Der)
			if err != nil {
				return lines.Encode(Verdict{Error: err.Error()})
			}
			return lines.Encode(Verdict{OK: true})
		})
	case len(args) == 1 && args[0] == "pem":
		return each(func(question struct{ Pem []byte }) error { return lines.Encode(read(question.Pem)) })
	case len(args) == 3 && args[0] == "generate":
		seed, err := strconv.ParseUint(args[1], 10, 64)
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		for c := range generate(seed, count) {
			if err := lines.Encode(Judged{c, judge(c)}); err != nil {
				return err
			}
		}
		return nil
	case len(args) == 1 && args[0] == "named":
		for _, c := range named() {
			if err := lines.Encode(Judged{c, judge(c)}); err != nil {
				return err
			}
		}
		return nil
	case len(args) == 1 && args[0] == "version":
		_, err := fmt.Fprintln(out, runtime.Version())
		return err
	}
	return errors.New("usage: oracle verify | parse | pem | generate SEED COUNT | named | version")
}

// checkSettings asks for the behaviour of Go 1.24, as go.mod does: how URLs and keys are read depends on it, and the environment may change it.
func checkSettings() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("no build information")
	}
	for _, setting := range info.Settings {
		if setting.Key == "DefaultGODEBUG" && strings.Contains(setting.Value, "urlstrictcolons=0") && os.Getenv("GODEBUG") == "" {
			return nil
		}
	}
	return errors.New("built or run with other GODEBUG settings than those of go.mod")
}

// each decodes one JSON value after the other from standard input.
func each[T any](answer func(T) error) error {
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	for in.More() {
		var question T
		if err := in.Decode(&question); err != nil {
			return err
		}
		if err := answer(question); err != nil {
			return err
		}
	}
	return nil
}

func judge(c Case) Verdict {
	until, err := verify(c)
	if err != nil {
		return Verdict{Error: err.Error()}
	}
	return Verdict{OK: true, Until: &until}
}

func verify(c Case) (until time.Time, err error) {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	if err := fill(roots, c.Anchors); err != nil {
		return until, err
	}
	if err := fill(intermediates, c.Chain); err != nil {
		return until, err
	}
	leaf, err := x509.ParseCertificate(c.Leaf)
	if err != nil {
		return until, err
	}
	var usages []x509.ExtKeyUsage
	switch c.Profile {
	case "spiffe":
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		if err := checkSVID(leaf); err != nil {
			return until, err
		}
	case "webhook":
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case "etcd":
		usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	default:
		return until, fmt.Errorf("unknown profile %q", c.Profile)
	}
	for i, usage := range usages {
		chains, err := leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: intermediates, CurrentTime: c.At, KeyUsages: []x509.ExtKeyUsage{usage},
		})
		if err != nil {
			return until, err
		}
		if best := longest(chains); i == 0 || best.Before(until) {
			until = best
		}
	}
	return until, nil
}

func fill(pool *x509.CertPool, certificates [][]byte) error {
	for _, der := range certificates {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		pool.AddCert(certificate)
	}
	return nil
}

func longest(chains [][]*x509.Certificate) (best time.Time) {
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, certificate := range chain {
			if certificate.NotAfter.Before(end) {
				end = certificate.NotAfter
			}
		}
		if end.After(best) {
			best = end
		}
	}
	return best
}

// checkSVID asks of a leaf what go-spiffe's x509svid.Verify asks before it looks at the chain.
func checkSVID(leaf *x509.Certificate) error {
	switch {
	case len(leaf.URIs) != 1:
		return errors.New("svid: not exactly one URI")
	case !isSPIFFEID(leaf.URIs[0]):
		return errors.New("svid: not a SPIFFE ID")
	case leaf.IsCA:
		return errors.New("svid: leaf with CA flag")
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return errors.New("svid: leaf that may sign")
	}
	return nil
}

func isSPIFFEID(id *url.URL) bool {
	domain, path, _ := strings.Cut(strings.TrimPrefix(id.String(), "spiffe://"), "/")
	if id.Scheme != "spiffe" || domain == "" || strings.Trim(domain, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if strings.Contains(id.String(), domain+"/") && (segment == "" || segment == "." || segment == "..") {
			return false
		}
	}
	return true
}

// Reading is what Dapr has in hand after it read a bundle.
type Reading struct {
	SHA256 []string `json:"sha256"`
	Error  string   `json:"error,omitempty"`
}

// read follows DecodePEMCertificates of github.com/dapr/kit/crypto/pem: blocks one after the other, the end at the first that is not a
// CERTIFICATE, an error if one can't be parsed or none is left.
func read(data []byte) Reading {
	var sums []string
	for len(data) > 0 {
		block, rest := pem.Decode(data)
		if block == nil || block.Type != "CERTIFICATE" {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Reading{Error: err.Error()}
		}
		sum := sha256.Sum256(certificate.Raw)
		sums = append(sums, hex.EncodeToString(sum[:]))
		data = rest
	}
	if len(sums) == 0 {
		return Reading{Error: "no certificates found"}
	}
	return Reading{SHA256: sums}
}
