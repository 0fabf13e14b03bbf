# shellcheck shell=bash
# Installs Dapr and the applications, and brings both back to a fresh state.

control_plane=(deploy/dapr-operator deploy/dapr-sidecar-injector sts/dapr-placement-server sts/dapr-scheduler-server)
dapr() { kubectl -n dapr-system "$@"; }
apps() { kubectl -n apps "$@"; }

install_dapr() {
  say "installing Dapr $dapr_version"
  "$bin/helm" --kubeconfig "$run/admin.kubeconfig" install dapr "$lab_dir/chart/dapr" \
    --namespace dapr-system --create-namespace -f "$lab_src/manifests/dapr-values.yaml" >"$run/log/helm.log" 2>&1 ||
    die "helm install failed, see $run/log/helm.log"
  kubectl apply -f "$lab_src/manifests/users.yaml" -f "$lab_src/ci-rights.yaml" >/dev/null
  kubeconfig "$run/ci.kubeconfig" mtls-lab-ci "$(dapr create token mtls-ci --duration 8760h)"
  remember_fresh
  kubectl apply -f "$lab_src/manifests/apps.yaml" >/dev/null
}

# What Helm installed, as objects to put back: workloads last, none but Sentry running, no CA.
remember_fresh() {
  local config=$run/conf/dapr-system.kubeconfig
  # Some of the chart's objects name no namespace, others name another one: a default, not -n, suits both.
  (
    umask 077
    sed 's/^    user: .*/&\n    namespace: dapr-system/' "$run/admin.kubeconfig" >"$config"
  )
  "$bin/helm" --kubeconfig "$config" get manifest dapr --namespace dapr-system |
    kubectl --kubeconfig "$config" get -f - -f "$lab_src/manifests/users.yaml" -f "$lab_src/ci-rights.yaml" -o json | jq '
      .items |= (map(
        del(.status, .metadata.uid, .metadata.resourceVersion, .metadata.managedFields, .metadata.creationTimestamp, .metadata.generation)
        | if .metadata.name == "dapr-trust-bundle" then del(.data) else . end
        | if .spec.template then .spec.replicas = (if .metadata.name == "dapr-sentry" then 1 else 0 end) else . end)
      | sort_by(.spec.template != null))' >"$run/fresh.json"
}

# A fresh mesh: objects as the chart has them, a CA that Sentry has just made, every process new, calls that flow.
fresh_mesh() {
  stop_everything
  forget_rotations
  put_back
  start_control_plane_pods
  start_applications
}

stop_everything() {
  # Where a test was stopped before it did so.
  kubectl uncordon "$node" >/dev/null
  # First, or the controller's deletion gives it 30 s, of which its etcd takes seven.
  dapr delete pods -l app=dapr-scheduler-server --grace-period 1 --wait=false >/dev/null
  dapr scale deploy,sts --all --replicas 0 >/dev/null
  apps scale deploy --all --replicas 0 >/dev/null
  apps delete pods --all --grace-period 1 --wait=false >/dev/null 2>&1
  dapr delete pods --all --grace-period 1 --wait=false >/dev/null 2>&1
  until_true 40 "the old pods to go" no_pods_in dapr-system
}

no_pods_in() { [[ -z $(kubectl -n "$1" get pods -o name) ]]; }

forget_rotations() {
  dapr delete secret mtls-rotation --ignore-not-found >/dev/null
  kubectl delete --raw /api/v1/namespaces/dapr-system/events >/dev/null
  # The operator's lease too, or its successor waits until it has run out.
  kubectl delete --raw /apis/coordination.k8s.io/v1/namespaces/dapr-system/leases >/dev/null
}

put_back() {
  local _
  for _ in 1 2 3 4; do
    kubectl replace -f "$run/fresh.json" >"$run/log/replace.log" 2>&1 && return
    # Something is missing altogether, or was written between kubectl's look and its own write.
    kubectl create -f "$run/fresh.json" >/dev/null 2>&1 || true
  done
  die "the chart's objects can't be put back, see $run/log/replace.log"
}

# The others start after Sentry has published, since an empty mount is filled only by the kubelet's next sync.
# Sentry is started a second time: the first one's mount was empty, and when the kubelet fills it Sentry reloads
# up to seven times over 14 s.
start_control_plane_pods() {
  local workload pids=() pid
  until_true 60 "Sentry to publish a CA" ca_published
  dapr delete pods -l app=dapr-sentry --grace-period 1 >/dev/null
  dapr scale "${control_plane[@]}" --replicas 1 >/dev/null
  for workload in deploy/dapr-sentry "${control_plane[@]}"; do
    dapr rollout status "$workload" --timeout 90s >/dev/null &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || die "the control plane does not get ready:" "$(dapr get pods)"
  done
  until_true 30 "the injector to put the CA into its webhook" webhook_trusts_ca
}

ca_published() {
  local secret
  secret=$(dapr get secret dapr-trust-bundle -o json | jq -er '.data | select(.["issuer.crt"] and .["issuer.key"]) | .["ca.crt"]') &&
    [[ $secret == "$(dapr get configmap dapr-trust-bundle -o json | jq -er '.data["ca.crt"] | @base64')" ]]
}

webhook_trusts_ca() {
  [[ $(kubectl get mutatingwebhookconfiguration dapr-sidecar-injector -o json | jq -er '.webhooks[0].clientConfig.caBundle') == \
    $(dapr get configmap dapr-trust-bundle -o json | jq -er '.data["ca.crt"] | @base64') ]]
}

start_applications() {
  local app
  # The server lingers, which the control plane need not wait for.
  until_true 40 "the old pods to go" no_pods_in apps
  until_true 30 "the injector to be reached" injector_injects
  apps scale deploy --all --replicas 1 >/dev/null
  for app in server client; do
    apps rollout status "deploy/$app" --timeout 60s >/dev/null || die "$app does not get ready:" "$(apps get pods)"
    [[ $(apps get pods -l "app=$app" -o json | jq '.items[0].spec.containers | length') == 2 ]] ||
      die "$app came up without a sidecar"
  done
  until_true 40 "calls to flow without a failure" calls_flow
}

# A pod that is born before the API server reaches the injector gets no sidecar, and nobody says so.
injector_injects() {
  apps get deploy server -o json |
    jq '.spec.template + {apiVersion: "v1", kind: "Pod"} | .metadata.name = "canary"' |
    apps create --dry-run=server -f - -o json | jq -e '.spec.containers | length == 2'
}

client() { kubectl get --raw "/api/v1/namespaces/apps/services/client:8080/proxy/$1"; }

# A second of calls, none of which failed; the counts start anew for whoever looks next.
calls_flow() {
  client reset >/dev/null || return 1
  local stats end=$((SECONDS + 5))
  while ((SECONDS < end)); do
    pause 0.2
    stats=$(client stats) || return 1
    jq -e '.failures == 0' <<<"$stats" >/dev/null || return 1
    if jq -e '.answers >= 20' <<<"$stats" >/dev/null; then
      client reset >/dev/null
      return
    fi
  done
  return 1
}
