package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
)

// parts are those of a root, each encoded, so that each can be encoded wrongly.
type parts struct {
	version, serial, algorithm, issuer, validity, subject, spki []byte
	extensions                                                  [][]byte
}

// Tags.
const (
	boolean, integer, bits, octets, null, object = 1, 2, 3, 4, 5, 6
	utf8, numeric, printable, t61, ia5, utcTime  = 12, 18, 19, 20, 22, 23
	generalized, universal, bmp                  = 24, 28, 30
	sequence, set                                = 0x30, 0x31
)

func der(tag byte, content ...[]byte) []byte {
	inside := slices.Concat(content...)
	var head []byte
	switch n := len(inside); {
	case n < 0x80:
		head = []byte{tag, byte(n)}
	case n < 0x100:
		head = []byte{tag, 0x81, byte(n)}
	default:
		head = []byte{tag, 0x82, byte(n >> 8), byte(n)}
	}
	return append(head, inside...)
}

func text(tag byte, value string) []byte { return der(tag, []byte(value)) }

// named with an organisation of that encoding.
func organisation(value []byte) []byte {
	return der(sequence, der(set, der(sequence, der(object, []byte{0x55, 4, 10}), value)))
}

func extension(id asn1.ObjectIdentifier, critical, value []byte) []byte {
	oid, err := asn1.Marshal(id)
	must(err)
	return der(sequence, oid, critical, der(octets, value))
}

func dates(before, after []byte) []byte { return der(sequence, before, after) }

// odd returns cases of one root whose encoding is odd in one way, and that has issued an issuer and a leaf as usual.
func odd() (cases []Case) {
	key := makeKey(elliptic.P256()).(*ecdsa.PrivateKey)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	truth := []byte{boolean, 1, 0xff}
	basic := extension(asn1.ObjectIdentifier{2, 5, 29, 19}, truth, der(sequence, truth))
	usage := extension(asn1.ObjectIdentifier{2, 5, 29, 15}, truth, []byte{bits, 2, 2, 4})
	ecdsaWithSHA256 := der(sequence, der(object, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2}))
	algorithm := ecdsaWithSHA256
	add := func(name string, change func(*parts)) {
		p := parts{
			version: der(0xa0, []byte{integer, 1, 2}), serial: []byte{integer, 1, 1}, algorithm: algorithm, spki: spki,
			issuer: organisation(text(printable, "odd root")), subject: organisation(text(printable, "odd root")),
			validity: dates(text(utcTime, "260101000000Z"), text(utcTime, "270101000000Z")), extensions: [][]byte{basic, usage},
		}
		change(&p)
		tbs := [][]byte{p.version, p.serial, p.algorithm, p.issuer, p.validity, p.subject, p.spki}
		if p.extensions != nil {
			tbs = append(tbs, der(0xa3, der(sequence, p.extensions...)))
		}
		signed := der(sequence, tbs...)
		sum := sha256.Sum256(signed)
		signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		must(err)
		root := der(sequence, signed, p.algorithm, der(bits, []byte{0}, signature))
		subject := p.subject
		if _, err := x509.ParseCertificate(root); err != nil {
			// That is the verdict, and nothing can be made with such a name.
			subject = organisation(text(printable, "odd root"))
		}
		m := mesh{root: &x509.Certificate{RawSubject: subject}, rootKey: key, issuerKey: makeKey(elliptic.P256())}
		m.issuer = certify("odd issuer", m.issuerKey, m.root, key, none)
		cases = append(cases, Case{Name: "odd: " + name, Profile: "spiffe", Leaf: m.leaf(none), Chain: ders(m.issuer), Anchors: [][]byte{root}, At: now})
	}
	add("nothing", func(*parts) {})

	for name, version := range map[string][]byte{"none": nil, "0": {integer, 1, 0}, "1": {integer, 1, 1}, "3": {integer, 1, 3}, "-1": {integer, 1, 0xff}, "two bytes": {integer, 2, 0, 2}, "followed by more": {integer, 1, 2, null, 0}} {
		add("version "+name, func(p *parts) {
			if p.version = nil; version != nil {
				p.version = der(0xa0, version)
			}
		})
	}
	for name, serial := range map[string][]byte{"empty": {integer, 0}, "zero": {integer, 1, 0}, "not minimal": {integer, 2, 0, 1}, "padded for its sign": {integer, 2, 0, 0x80}, "negative": {integer, 1, 0x80}, "negative, not minimal": {integer, 2, 0xff, 0x80}, "of 40 bytes": der(integer, []byte{1}, make([]byte, 39)), "of another tag": {octets, 1, 1}} {
		add("serial "+name, func(p *parts) { p.serial = serial })
	}
	for name, value := range map[string][]byte{
		"PrintableString": text(printable, "Aa0 '()+,-./:=?*&"), "PrintableString with an underscore": text(printable, "a_b"),
		"PrintableString with an at": text(printable, "a@b"), "PrintableString with a semicolon": text(printable, "a;b"), "UTF8String": text(utf8, "\u00e4"),
		"UTF8String that is none": text(utf8, "\xe4"), "T61String": text(t61, "\xe4"), "IA5String": text(ia5, "a_b@c"), "IA5String with a high byte": text(ia5, "\xe4"),
		"NumericString": text(numeric, "1 2"), "NumericString with a letter": text(numeric, "a"), "BMPString": text(bmp, "\x00a\x00\x00"),
		"BMPString of three bytes": text(bmp, "\x00a\x00"), "BMPString with a surrogate": text(bmp, "\xd8\x00"), "UniversalString": text(universal, "\x00\x00\x00a"),
		"integer": {integer, 1, 1}, "empty string": text(utf8, ""), "VisibleString": text(26, "a"), "high tag": {0x1f, 0x81, 1, 1, 'a'},
	} {
		add("Subject of a "+name, func(p *parts) { p.subject, p.issuer = organisation(value), organisation(value) })
	}
	add("Subject followed by more in its attribute", func(p *parts) {
		p.subject = der(sequence, der(set, der(sequence, der(object, []byte{0x55, 4, 10}), text(utf8, "a"), text(utf8, "b"))))
		p.issuer = p.subject
	})
	add("Subject of an empty set", func(p *parts) { p.subject = der(sequence, der(set)); p.issuer = p.subject })
	add("Subject with an object identifier that is not minimal", func(p *parts) {
		p.subject = der(sequence, der(set, der(sequence, der(object, []byte{0x55, 0x80, 4}), text(utf8, "a"))))
		p.issuer = p.subject
	})
	add("issuer's name with an underscore", func(p *parts) { p.issuer = organisation(text(printable, "a_b")) })

	early, late := text(utcTime, "260101000000Z"), text(utcTime, "270101000000Z")
	for name, validity := range map[string][]byte{
		"without seconds": dates(text(utcTime, "2601010000Z"), late), "with an offset": dates(early, text(utcTime, "270101000000+0130")), "with an offset of zero": dates(early, text(utcTime, "270101000000+0000")),
		"with fractions": dates(early, text(generalized, "20270101000000.5Z")), "generalized": dates(early, text(generalized, "20270101000000Z")), "generalized without seconds": dates(early, text(generalized, "202701010000Z")),
		"without a zone": dates(early, text(utcTime, "270101000000")), "of a 31st of June": dates(early, text(utcTime, "270631000000Z")), "of a leap second": dates(early, text(utcTime, "270101000060Z")),
		"of 1950": dates(text(utcTime, "500101000000Z"), late), "without end": dates(early, text(generalized, "99991231235959Z")), "of year 0": dates(text(generalized, "00000101000000Z"), late),
		"of one time": dates(early, nil), "followed by more": dates(early, slices.Concat(late, late)), "of a number": dates(early, []byte{integer, 1, 1}), "of hour 24": dates(early, text(utcTime, "270101240000Z")),
	} {
		add("validity "+name, func(p *parts) { p.validity = validity })
	}

	for name, critical := range map[string][]byte{"false": {boolean, 1, 0}, "0x01": {boolean, 1, 1}, "of two bytes": {boolean, 2, 0xff, 0xff}, "empty": {boolean, 0}, "twice": {boolean, 1, 0xff, boolean, 1, 0xff}} {
		add("critical "+name, func(p *parts) {
			p.extensions[0] = extension(asn1.ObjectIdentifier{2, 5, 29, 19}, critical, der(sequence, truth))
		})
	}
	oids := func(ids ...string) (content [][]byte) {
		for _, id := range ids {
			content = append(content, der(object, []byte(id)))
		}
		return content
	}
	policy, other, anyPolicy := "\x2a\x03\x04", "\x2a\x03\x05", "\x55\x1d\x20\x00"
	for _, x := range []struct {
		name  string
		id    asn1.ObjectIdentifier
		value []byte
	}{
		{"nsCertType of two bytes", asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 1, 1}, []byte{5, 0}},
		{"SCT list that is none", asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, []byte{1, 2, 3}},
		{"nothing in an unknown extension", asn1.ObjectIdentifier{1, 2, 3, 4}, nil},
		{"issuerAltName that is none", asn1.ObjectIdentifier{2, 5, 29, 18}, []byte{5, 0}},
		{"private key usage period that is none", asn1.ObjectIdentifier{2, 5, 29, 16}, []byte{5, 0}},
		{"extended key usage, empty", asn1.ObjectIdentifier{2, 5, 29, 37}, der(sequence)},
		{"extended key usage of a string", asn1.ObjectIdentifier{2, 5, 29, 37}, der(sequence, text(utf8, "a"))},
		{"a policy", asn1.ObjectIdentifier{2, 5, 29, 32}, der(sequence, der(sequence, oids(policy)...))},
		{"a policy twice", asn1.ObjectIdentifier{2, 5, 29, 32}, der(sequence, der(sequence, oids(policy)...), der(sequence, oids(policy)...))},
		{"a policy with odd qualifiers", asn1.ObjectIdentifier{2, 5, 29, 32}, der(sequence, der(sequence, oids(policy)[0], []byte{integer, 1, 1}))},
		{"a policy that is not minimal", asn1.ObjectIdentifier{2, 5, 29, 32}, der(sequence, der(sequence, oids("\x2a\x80\x04")...))},
		{"policies of none", asn1.ObjectIdentifier{2, 5, 29, 32}, der(sequence)},
		{"policy mapping", asn1.ObjectIdentifier{2, 5, 29, 33}, der(sequence, der(sequence, oids(policy, other)...))},
		{"policy mapping of one", asn1.ObjectIdentifier{2, 5, 29, 33}, der(sequence, der(sequence, oids(policy)...))},
		{"inhibitAnyPolicy", asn1.ObjectIdentifier{2, 5, 29, 54}, []byte{integer, 1, 0}},
		{"inhibitAnyPolicy not minimal", asn1.ObjectIdentifier{2, 5, 29, 54}, []byte{integer, 2, 0, 0}},
		{"policy constraints, empty", asn1.ObjectIdentifier{2, 5, 29, 36}, der(sequence)},
		{"policy constraints not minimal", asn1.ObjectIdentifier{2, 5, 29, 36}, der(sequence, []byte{0x80, 2, 0, 0})},
		{"subject key identifier with trailing bytes", asn1.ObjectIdentifier{2, 5, 29, 14}, []byte{octets, 1, 7, 0, 0}},
		{"subject key identifier of a sequence", asn1.ObjectIdentifier{2, 5, 29, 14}, der(sequence)},
		{"authority key identifier, empty", asn1.ObjectIdentifier{2, 5, 29, 35}, der(sequence)},
		{"authority key identifier of octets", asn1.ObjectIdentifier{2, 5, 29, 35}, []byte{octets, 1, 7}},
		{"authority information access of nothing", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}, der(sequence, der(sequence))},
		{"authority information access by another name", asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}, der(sequence, der(sequence, oids(policy)[0], []byte{0x82, 1, 'a'}))},
		{"CRL distribution point without a name", asn1.ObjectIdentifier{2, 5, 29, 31}, der(sequence, der(sequence))},
		{"CRL distribution point of a number", asn1.ObjectIdentifier{2, 5, 29, 31}, der(sequence, []byte{integer, 1, 1})},
		{"alternative names, none", asn1.ObjectIdentifier{2, 5, 29, 17}, der(sequence)},
		{"alternative names of other kinds", asn1.ObjectIdentifier{2, 5, 29, 17}, der(sequence, []byte{0x88, 1, 0x2a})},
		{"alternative name that is not ASCII", asn1.ObjectIdentifier{2, 5, 29, 17}, der(sequence, text(0x82, "\xe4"))},
		{"alternative name of a bad URI", asn1.ObjectIdentifier{2, 5, 29, 17}, der(sequence, text(0x86, "http://[::1"))},
		{"alternative name of a URI with two colons", asn1.ObjectIdentifier{2, 5, 29, 17}, der(sequence, text(0x86, "http://a:b:80/"))},
		{"alternative name of three bytes of address", asn1.ObjectIdentifier{2, 5, 29, 17}, der(sequence, text(0x87, "\x0a\x00\x00"))},
		{"name constraints, empty", asn1.ObjectIdentifier{2, 5, 29, 30}, der(sequence)},
		{"name constraints of an empty list", asn1.ObjectIdentifier{2, 5, 29, 30}, der(sequence, der(0xa0))},
		{"name constraints of a bad mask", asn1.ObjectIdentifier{2, 5, 29, 30}, der(sequence, der(0xa1, der(sequence, text(0x87, "\x0a\x00\x00\x00\xff\x00\xff\x00"))))},
		{"name constraints of a directory name", asn1.ObjectIdentifier{2, 5, 29, 30}, der(sequence, der(0xa1, der(sequence, der(0xa4, organisation(text(utf8, "a"))))))},
		{"name constraints with a minimum", asn1.ObjectIdentifier{2, 5, 29, 30}, der(sequence, der(0xa1, der(sequence, text(0x82, "example.com"), []byte{0x80, 1, 1})))},
		{"name constraints with trailing bytes", asn1.ObjectIdentifier{2, 5, 29, 30}, append(der(sequence, der(0xa1, der(sequence, text(0x82, "example.com")))), 5, 0)},
	} {
		add(x.name, func(p *parts) { p.extensions = append(p.extensions, extension(x.id, nil, x.value)) })
		add(x.name+", critical", func(p *parts) { p.extensions = append(p.extensions, extension(x.id, truth, x.value)) })
	}
	add("key usage with unused bits that are set", func(p *parts) {
		p.extensions[1] = extension(asn1.ObjectIdentifier{2, 5, 29, 15}, truth, []byte{bits, 2, 3, 4})
	})
	add("key usage of nine bits", func(p *parts) {
		p.extensions[1] = extension(asn1.ObjectIdentifier{2, 5, 29, 15}, truth, []byte{bits, 3, 7, 4, 0x80})
	})
	add("basic constraints of 0x01", func(p *parts) {
		p.extensions[0] = extension(asn1.ObjectIdentifier{2, 5, 29, 19}, truth, der(sequence, []byte{boolean, 1, 1}))
	})
	add("basic constraints with a negative path length", func(p *parts) {
		p.extensions[0] = extension(asn1.ObjectIdentifier{2, 5, 29, 19}, truth, der(sequence, truth, []byte{integer, 1, 0xff}))
	})
	add("basic constraints with a huge path length", func(p *parts) {
		p.extensions[0] = extension(asn1.ObjectIdentifier{2, 5, 29, 19}, truth, der(sequence, truth, []byte{integer, 8, 0x7f, 0, 0, 0, 0, 0, 0, 0}))
	})
	add("basic constraints followed by more", func(p *parts) {
		p.extensions[0] = extension(asn1.ObjectIdentifier{2, 5, 29, 19}, truth, der(sequence, truth, []byte{null, 0}))
	})
	add("an extension twice", func(p *parts) { p.extensions = append(p.extensions, usage) })
	add("extensions of version 1", func(p *parts) { p.version = nil })
	add("no extensions", func(p *parts) { p.extensions = nil })
	add("an empty list of extensions", func(p *parts) { p.extensions = [][]byte{} })

	ec := der(sequence, der(object, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1}), der(object, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}))
	point := spki[len(spki)-65:]
	rsaAlgorithm := der(sequence, der(object, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1}), []byte{null, 0})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	modulus := slices.Concat([]byte{0}, rsaKey.N.Bytes())
	exponent := []byte{integer, 3, 1, 0, 1}
	flipped := slices.Clone(point)
	flipped[64] ^= 1
	for name, encoded := range map[string][]byte{
		"off the curve":         der(sequence, ec, der(bits, []byte{0}, flipped)),
		"compressed":            der(sequence, ec, der(bits, []byte{0}, elliptic.MarshalCompressed(elliptic.P256(), key.X, key.Y))),
		"at infinity":           der(sequence, ec, der(bits, []byte{0}, []byte{0})),
		"with unused bits":      der(sequence, ec, der(bits, []byte{1}, point)),
		"without a curve":       der(sequence, der(sequence, der(object, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1})), der(bits, []byte{0}, point)),
		"followed by more":      der(sequence, ec, der(bits, []byte{0}, point), []byte{null, 0}),
		"RSA":                   der(sequence, rsaAlgorithm, der(bits, []byte{0}, der(sequence, der(integer, modulus), exponent))),
		"RSA without a number":  der(sequence, rsaAlgorithm, der(bits, []byte{0}, der(sequence, der(integer, modulus)))),
		"RSA not minimal":       der(sequence, rsaAlgorithm, der(bits, []byte{0}, der(sequence, der(integer, []byte{0}, modulus), exponent))),
		"RSA negative":          der(sequence, rsaAlgorithm, der(bits, []byte{0}, der(sequence, der(integer, []byte{0x80}, modulus[2:]), exponent))),
		"RSA exponent zero":     der(sequence, rsaAlgorithm, der(bits, []byte{0}, der(sequence, der(integer, modulus), []byte{integer, 1, 0}))),
		"RSA exponent huge":     der(sequence, rsaAlgorithm, der(bits, []byte{0}, der(sequence, der(integer, modulus), der(integer, []byte{1}, make([]byte, 8))))),
		"RSA of octets":         der(sequence, rsaAlgorithm, der(bits, []byte{0}, der(octets, modulus))),
		"of an unknown kind":    der(sequence, der(sequence, der(object, []byte{0x2a, 3, 4})), der(bits, []byte{0}, point)),
		"Ed25519, too short":    der(sequence, der(sequence, der(object, []byte{0x2b, 0x65, 112})), der(bits, []byte{0}, make([]byte, 31))),
		"Ed25519 with NULL":     der(sequence, der(sequence, der(object, []byte{0x2b, 0x65, 112}), []byte{null, 0}), der(bits, []byte{0}, make([]byte, 32))),
		"DSA without a modulus": der(sequence, der(sequence, der(object, []byte{0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1}), der(sequence)), der(bits, []byte{0}, []byte{integer, 1, 1})),
	} {
		add("public key "+name, func(p *parts) { p.spki = encoded })
	}
	algorithm = der(sequence, der(object, []byte{0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2}), []byte{null, 0})
	add("signature algorithm with NULL", func(*parts) {})
	algorithm = ecdsaWithSHA256
	mapping := func(name string, from, to string) {
		m := newMesh("mapping", none, func(t *x509.Certificate) { t.Policies = []x509.OID{oid(1, 2, 3, 4)} })
		inner := mesh{root: m.root, rootKey: m.rootKey, issuerKey: makeKey(elliptic.P256())}
		above := certify("mapping above", m.issuerKey, m.root, m.rootKey, func(t *x509.Certificate) {
			t.Policies = []x509.OID{oid(1, 2, 3, 4)}
			t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 33}, Value: der(sequence, der(sequence, oids(from, to)...))})
		})
		inner.issuer = certify("mapping below", inner.issuerKey, above, m.issuerKey, none)
		cases = append(cases, Case{Name: "policy mapping " + name, Profile: "spiffe", Leaf: inner.leaf(none), Chain: ders(inner.issuer, above), Anchors: ders(m.root), At: now})
	}
	mapping("of two policies", policy, other)
	mapping("from any policy", anyPolicy, other)
	mapping("to any policy", policy, anyPolicy)
	slices.SortStableFunc(cases, func(a, b Case) int { return strings.Compare(a.Name, b.Name) })
	return cases
}
