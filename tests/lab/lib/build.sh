# shellcheck shell=bash
# Builds every part from its pinned Go module. A part is built again when its inputs change.

build_all() {
  mkdir -p "$bin" "$images"
  part kubernetes build/kubernetes \
    "-X k8s.io/component-base/version.gitVersion=$kubernetes_version -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes_version" \
    "" tool
  part dapr build/dapr \
    "-X github.com/dapr/dapr/pkg/buildinfo.version=$dapr_version -X github.com/dapr/kit/logger.DaprVersion=$dapr_version" \
    stablecomponents tool
  part helm build/helm "" "" tool
  part trust-manager build/trust-manager "" "" tool
  part coredns build/coredns "" "" . coredns
  part tools tools "" "" ./...
  part app apps "" "" . app
  part watcher watcher "" "" . lab-watcher
  part watcher-living watcher "" living . lab-watcher-living living.mod
  part proxy proxy "" "" . lab-proxy
  build_images
  build_chart
}

# part NAME DIR LDFLAGS TAGS PACKAGES [BINARY [MODFILE]]
part() {
  local name=$1 dir=$lab_src/$2 ldflags="-s -w $3" tags=$4 packages=$5 out=$bin/${6:-} modfile=${7:-go.mod} key
  key=$({
    cd "$dir" && find . -type f -print0 | sort -z | xargs -0 sha256sum
    go env GOVERSION GOARCH
    printf '%s\n' "$ldflags" "$tags" "$packages" "$out" ${7:+"$7"}
  } | sha256sum)
  [[ $(cat "$bin/.key-$name" 2>/dev/null) != "$key" ]] || return 0
  say "building $name"
  rm -f "$bin/.key-$name"
  (
    cd "$dir"
    CGO_ENABLED=0 GOFLAGS='' GOWORK=off nice -n 5 \
      go build -buildvcs=false -mod=readonly -modfile "$modfile" -trimpath -tags "$tags" -ldflags "$ldflags" -o "$out" "$packages"
  ) >"$lab_dir/build-$name.log" 2>&1 || die "$name can't be built:" "$(tail -5 "$lab_dir/build-$name.log")"
  printf '%s\n' "$key" >"$bin/.key-$name"
}

build_images() {
  local key name specs=()
  for name in sentry operator injector placement scheduler daprd; do
    specs+=("docker.io/mtls-lab/dapr/$name:$dapr_version=$bin/$name")
  done
  specs+=("docker.io/mtls-lab/pause:1=$bin/pause" "docker.io/mtls-lab/coredns:1=$bin/coredns")
  specs+=("docker.io/mtls-lab/app:1=$bin/app" "docker.io/mtls-lab/watcher:1=$bin/lab-watcher")
  specs+=("docker.io/mtls-lab/watcher-living:1=$bin/lab-watcher-living")
  key=$(cat "$bin"/.key-{dapr,tools,coredns,app,watcher,watcher-living} | sha256sum)
  [[ $(cat "$images/.key" 2>/dev/null) != "$key" ]] || return 0
  say "writing images"
  rm -f "$images/.key"
  "$bin/image" -out "$images/all.tar" "${specs[@]}"
  printf '%s\n' "$key" >"$images/.key"
}

# Dapr's own chart, out of the module, and the one resource definition that trust-manager needs, out of its chart.
# Dapr's version there is 0.0.0.
build_chart() {
  local key module
  key=$(cat "$bin"/.key-{dapr,helm,trust-manager} | sha256sum)
  [[ $(cat "$lab_dir/chart/.key" 2>/dev/null) != "$key" ]] || return 0
  module=$(module_dir dapr github.com/dapr/dapr)
  rm -rf "$lab_dir/chart"
  mkdir -p "$lab_dir/chart"
  cp -r "$module/charts/dapr" "$lab_dir/chart/dapr"
  chmod -R u+w "$lab_dir/chart"
  find "$lab_dir/chart" -name Chart.yaml -exec sed -i "s/0\.0\.0/$dapr_version/" {} +
  module=$(module_dir trust-manager github.com/cert-manager/trust-manager)
  # A Helm that was built this way takes the cluster for an old one.
  "$bin/helm" template trust-manager "$module/deploy/charts/trust-manager" --kube-version "$kubernetes_version" \
    --set crds.enabled=true -s templates/crd-trust.cert-manager.io_bundles.yaml >"$lab_dir/chart/bundle-crd.yaml" ||
    die "the resource definition of trust-manager can't be made"
  printf '%s\n' "$key" >"$lab_dir/chart/.key"
}

# module_dir PART MODULE: where Go keeps the module's files.
module_dir() { (cd "$lab_src/build/$1" && GOWORK=off go list -mod=readonly -m -f '{{.Dir}}' "$2"); }

# Changes when anything that a running lab was made from changes.
lab_key() {
  cat "$bin"/.key-* "$images/.key" <(cd "$lab_src" && sha256sum up ci-rights.yaml lib/* manifests/*) | sha256sum
}
