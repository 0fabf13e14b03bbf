# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mtls_global_optspecs
    string join \n k/kubernetes= certs-dir= self-hosted kubeconfig= context= n/namespace= as= as-group= request-timeout= color= q/quiet v/verbose y/yes log-as-json= runtime-path= h/help V/version
end

function __fish_mtls_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mtls_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mtls_using_subcommand
    set -l cmd (__fish_mtls_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mtls -n "__fish_mtls_needs_command" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_needs_command" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_needs_command" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_needs_command" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_needs_command" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_needs_command" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_needs_command" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_needs_command" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_needs_command" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_needs_command" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_needs_command" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_needs_command" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_needs_command" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_needs_command" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_needs_command" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_needs_command" -s V -l version -d 'Print version'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "status" -d 'Shows the control plane, every layer of certificates, and what needs attention'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "expiry" -d 'Shows when the certificates of every layer expire, and who depends on them'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "export" -d 'Writes ca.crt, issuer.crt and issuer.key into a directory'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "renew-certificate" -d 'Renews root and issuer while every application goes on calling every other'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "renew-cert" -d 'Renews root and issuer while every application goes on calling every other'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "rnc" -d 'Renews root and issuer while every application goes on calling every other'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "rotate" -d 'Renews root and issuer while every application goes on calling every other'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "prune" -d 'Retires trust anchors and bridges that nobody needs any more, where that is proven'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "restore" -d 'Puts the CA on record back after Sentry invented one of its own; both stay trusted, so that calls go on'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "restart" -d 'Restarts the control plane in the order that keeps the mesh working, then with `--apps` the applications'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "completion" -d 'Prints a completion script for a shell'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "man" -d 'Prints a manual page, or writes all of them into a directory'
complete -c mtls -n "__fish_mtls_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mtls -n "__fish_mtls_using_subcommand status" -l expires-within -d 'Exits with 3 if something that is needed expires within this time' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand status" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand status" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand status" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand status" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand status" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand status" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand status" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand status" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand status" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand status" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l expires-within -d 'Exits with 3 if something that is needed expires within this time' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand expiry" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand export" -s o -l out -d 'The directory to write into; made if it is not there' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand export" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand export" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand export" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand export" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand export" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand export" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand export" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand export" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand export" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand export" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand export" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand export" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand export" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand export" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand export" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l private-key -d 'Makes the new root with this key. The live root\'s own key renews that root. Beside certificates of your own it has no effect, as in `dapr`' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l ca-root-certificate -d 'Brings a root of your own; the other two go with it' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l issuer-public-certificate -d 'The issuer\'s certificate, with its chain if it has one' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l issuer-private-key -d 'The issuer\'s private key' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l valid-until -d 'How many days new certificates live; units such as `12h` are taken too' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l trust-domain -d 'The trust domain of the first CA in a directory that has none yet [default: cluster.local]' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l strategy -d 'How to get there' -r -f -a "auto\t'The first that is safe: one without restarts before the switch, or else `append`'
issuer\t'A new issuer under the live root'
same-key\t'A new root with the live root\'s key beside it'
bridge\t'A new root, cross-signed by the live issuer'
append\t'A new root beside the old one; the issuer follows once everybody was restarted into it'
replace\t'New trust at once; calls fail until everything has restarted'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l restart -d 'Restarts the control plane afterwards, in order: all of it, or only what holds older trust; or all of it and then the applications, in waves. An append waits for them and then switches' -r -f -a "control-plane\t'All of the control plane'
stale\t'Only what of it is not proven to hold the new trust'
all\t'All of the control plane, then the applications'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l max-parallel -d 'How many applications are restarted at once' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l if-expires-within -d 'Does nothing unless the issuer in use or its root expires within this time' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l timeout -d 'How long each rollout, and the wait for a quiet Sentry, may take' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l propagation-wait -d 'How long to wait for each proof that a process took what was published' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l fence -d 'Whether Sentry\'s right to overwrite the pair is taken away during the trust write' -r -f -a "auto\t'Where the caller may'
never\t'Never: waits for Sentry to be at rest instead'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l trust-source -d 'The Secret that a distributor copies into the `ConfigMaps` `dapr-root-ca.crt` of all namespaces' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l expect-trust-domain -d 'Stops before any write unless this is the mesh\'s trust domain' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l expect-root -d 'Stops before any write unless the root in use has this SHA-256 fingerprint' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l root-key-out -d 'Keeps the key of a new root in this file, written before the first change; it is dropped otherwise' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l output-dir -d 'Keeps the previous ca.crt, issuer.crt and issuer.key in this directory, written before the first change' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l force -d 'Lets an append switch although this many consumers would refuse the new chain. Each is named first' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l image-variant -d 'Accepted as `dapr` has it, without effect: no image is changed' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l dry-run -d 'Shows what would be done. Reads and probes only'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l resume -d 'Continues the rotation that is open, whatever its inputs were'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l abort -d 'Puts the previous issuer back while that is safe; trust anchors stay'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l ignore-owners -d 'Writes although a continuous reconciler such as Argo CD owns the objects'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand renew-certificate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l private-key -d 'Makes the new root with this key. The live root\'s own key renews that root. Beside certificates of your own it has no effect, as in `dapr`' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l ca-root-certificate -d 'Brings a root of your own; the other two go with it' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l issuer-public-certificate -d 'The issuer\'s certificate, with its chain if it has one' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l issuer-private-key -d 'The issuer\'s private key' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l valid-until -d 'How many days new certificates live; units such as `12h` are taken too' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l trust-domain -d 'The trust domain of the first CA in a directory that has none yet [default: cluster.local]' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l strategy -d 'How to get there' -r -f -a "auto\t'The first that is safe: one without restarts before the switch, or else `append`'
issuer\t'A new issuer under the live root'
same-key\t'A new root with the live root\'s key beside it'
bridge\t'A new root, cross-signed by the live issuer'
append\t'A new root beside the old one; the issuer follows once everybody was restarted into it'
replace\t'New trust at once; calls fail until everything has restarted'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l restart -d 'Restarts the control plane afterwards, in order: all of it, or only what holds older trust; or all of it and then the applications, in waves. An append waits for them and then switches' -r -f -a "control-plane\t'All of the control plane'
stale\t'Only what of it is not proven to hold the new trust'
all\t'All of the control plane, then the applications'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l max-parallel -d 'How many applications are restarted at once' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l if-expires-within -d 'Does nothing unless the issuer in use or its root expires within this time' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l timeout -d 'How long each rollout, and the wait for a quiet Sentry, may take' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l propagation-wait -d 'How long to wait for each proof that a process took what was published' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l fence -d 'Whether Sentry\'s right to overwrite the pair is taken away during the trust write' -r -f -a "auto\t'Where the caller may'
never\t'Never: waits for Sentry to be at rest instead'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l trust-source -d 'The Secret that a distributor copies into the `ConfigMaps` `dapr-root-ca.crt` of all namespaces' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l expect-trust-domain -d 'Stops before any write unless this is the mesh\'s trust domain' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l expect-root -d 'Stops before any write unless the root in use has this SHA-256 fingerprint' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l root-key-out -d 'Keeps the key of a new root in this file, written before the first change; it is dropped otherwise' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l output-dir -d 'Keeps the previous ca.crt, issuer.crt and issuer.key in this directory, written before the first change' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l force -d 'Lets an append switch although this many consumers would refuse the new chain. Each is named first' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l image-variant -d 'Accepted as `dapr` has it, without effect: no image is changed' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l dry-run -d 'Shows what would be done. Reads and probes only'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l resume -d 'Continues the rotation that is open, whatever its inputs were'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l abort -d 'Puts the previous issuer back while that is safe; trust anchors stay'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l ignore-owners -d 'Writes although a continuous reconciler such as Argo CD owns the objects'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand renew-cert" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l private-key -d 'Makes the new root with this key. The live root\'s own key renews that root. Beside certificates of your own it has no effect, as in `dapr`' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l ca-root-certificate -d 'Brings a root of your own; the other two go with it' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l issuer-public-certificate -d 'The issuer\'s certificate, with its chain if it has one' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l issuer-private-key -d 'The issuer\'s private key' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l valid-until -d 'How many days new certificates live; units such as `12h` are taken too' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l trust-domain -d 'The trust domain of the first CA in a directory that has none yet [default: cluster.local]' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l strategy -d 'How to get there' -r -f -a "auto\t'The first that is safe: one without restarts before the switch, or else `append`'
issuer\t'A new issuer under the live root'
same-key\t'A new root with the live root\'s key beside it'
bridge\t'A new root, cross-signed by the live issuer'
append\t'A new root beside the old one; the issuer follows once everybody was restarted into it'
replace\t'New trust at once; calls fail until everything has restarted'"
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l restart -d 'Restarts the control plane afterwards, in order: all of it, or only what holds older trust; or all of it and then the applications, in waves. An append waits for them and then switches' -r -f -a "control-plane\t'All of the control plane'
stale\t'Only what of it is not proven to hold the new trust'
all\t'All of the control plane, then the applications'"
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l max-parallel -d 'How many applications are restarted at once' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l if-expires-within -d 'Does nothing unless the issuer in use or its root expires within this time' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l timeout -d 'How long each rollout, and the wait for a quiet Sentry, may take' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l propagation-wait -d 'How long to wait for each proof that a process took what was published' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l fence -d 'Whether Sentry\'s right to overwrite the pair is taken away during the trust write' -r -f -a "auto\t'Where the caller may'
never\t'Never: waits for Sentry to be at rest instead'"
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l trust-source -d 'The Secret that a distributor copies into the `ConfigMaps` `dapr-root-ca.crt` of all namespaces' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l expect-trust-domain -d 'Stops before any write unless this is the mesh\'s trust domain' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l expect-root -d 'Stops before any write unless the root in use has this SHA-256 fingerprint' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l root-key-out -d 'Keeps the key of a new root in this file, written before the first change; it is dropped otherwise' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l output-dir -d 'Keeps the previous ca.crt, issuer.crt and issuer.key in this directory, written before the first change' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l force -d 'Lets an append switch although this many consumers would refuse the new chain. Each is named first' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l image-variant -d 'Accepted as `dapr` has it, without effect: no image is changed' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l dry-run -d 'Shows what would be done. Reads and probes only'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l resume -d 'Continues the rotation that is open, whatever its inputs were'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l abort -d 'Puts the previous issuer back while that is safe; trust anchors stay'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l ignore-owners -d 'Writes although a continuous reconciler such as Argo CD owns the objects'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand rnc" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l private-key -d 'Makes the new root with this key. The live root\'s own key renews that root. Beside certificates of your own it has no effect, as in `dapr`' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l ca-root-certificate -d 'Brings a root of your own; the other two go with it' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l issuer-public-certificate -d 'The issuer\'s certificate, with its chain if it has one' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l issuer-private-key -d 'The issuer\'s private key' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l valid-until -d 'How many days new certificates live; units such as `12h` are taken too' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l trust-domain -d 'The trust domain of the first CA in a directory that has none yet [default: cluster.local]' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l strategy -d 'How to get there' -r -f -a "auto\t'The first that is safe: one without restarts before the switch, or else `append`'
issuer\t'A new issuer under the live root'
same-key\t'A new root with the live root\'s key beside it'
bridge\t'A new root, cross-signed by the live issuer'
append\t'A new root beside the old one; the issuer follows once everybody was restarted into it'
replace\t'New trust at once; calls fail until everything has restarted'"
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l restart -d 'Restarts the control plane afterwards, in order: all of it, or only what holds older trust; or all of it and then the applications, in waves. An append waits for them and then switches' -r -f -a "control-plane\t'All of the control plane'
stale\t'Only what of it is not proven to hold the new trust'
all\t'All of the control plane, then the applications'"
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l max-parallel -d 'How many applications are restarted at once' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l if-expires-within -d 'Does nothing unless the issuer in use or its root expires within this time' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l timeout -d 'How long each rollout, and the wait for a quiet Sentry, may take' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l propagation-wait -d 'How long to wait for each proof that a process took what was published' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l fence -d 'Whether Sentry\'s right to overwrite the pair is taken away during the trust write' -r -f -a "auto\t'Where the caller may'
never\t'Never: waits for Sentry to be at rest instead'"
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l trust-source -d 'The Secret that a distributor copies into the `ConfigMaps` `dapr-root-ca.crt` of all namespaces' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l expect-trust-domain -d 'Stops before any write unless this is the mesh\'s trust domain' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l expect-root -d 'Stops before any write unless the root in use has this SHA-256 fingerprint' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l root-key-out -d 'Keeps the key of a new root in this file, written before the first change; it is dropped otherwise' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l output-dir -d 'Keeps the previous ca.crt, issuer.crt and issuer.key in this directory, written before the first change' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l force -d 'Lets an append switch although this many consumers would refuse the new chain. Each is named first' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l image-variant -d 'Accepted as `dapr` has it, without effect: no image is changed' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l dry-run -d 'Shows what would be done. Reads and probes only'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l resume -d 'Continues the rotation that is open, whatever its inputs were'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l abort -d 'Puts the previous issuer back while that is safe; trust anchors stay'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l ignore-owners -d 'Writes although a continuous reconciler such as Argo CD owns the objects'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand rotate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l force -d 'Goes on although this many consumers are not proven to be ready: they may refuse calls then. Each is named first; a token validator or another mesh\'s trust anchor counts as one' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l timeout -d 'How long each rollout, and the wait for a quiet Sentry, may take' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l propagation-wait -d 'How long to wait for each proof that a process took what was published' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l fence -d 'Whether Sentry\'s right to overwrite the pair is taken away during the trust write' -r -f -a "auto\t'Where the caller may'
never\t'Never: waits for Sentry to be at rest instead'"
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l trust-source -d 'The Secret that a distributor copies into the `ConfigMaps` `dapr-root-ca.crt` of all namespaces' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand prune" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l dry-run -d 'Shows what would be retired. Reads and probes only'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l ignore-owners -d 'Writes although a continuous reconciler such as Argo CD owns the objects'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand prune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l timeout -d 'How long each rollout, and the wait for a quiet Sentry, may take' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l propagation-wait -d 'How long to wait for each proof that a process took what was published' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l fence -d 'Whether Sentry\'s right to overwrite the pair is taken away during the trust write' -r -f -a "auto\t'Where the caller may'
never\t'Never: waits for Sentry to be at rest instead'"
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l trust-source -d 'The Secret that a distributor copies into the `ConfigMaps` `dapr-root-ca.crt` of all namespaces' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand restore" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l dry-run -d 'Shows what would be published. Reads and probes only'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l ignore-owners -d 'Writes although a continuous reconciler such as Argo CD owns the objects'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand restore" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l app-namespace -d 'Restarts applications in this namespace only; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s l -l selector -d 'Restarts only applications whose workload has these labels, such as `tier=web,team!=x`' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l max-parallel -d 'How many applications are restarted at once' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l timeout -d 'How long each rollout may take' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s o -l output -d 'The form of the result on stdout' -r -f -a "table\t'For people'
json\t'One JSON document, as described in docs/schema'
yaml\t'The same as YAML'"
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l stale -d 'Leaves alone what is proven to hold the live trust'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l apps -d 'Restarts the applications too, in waves: whatever has a sidecar of this control plane'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l dry-run -d 'Shows what would be restarted'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l no-headers -d 'Leaves the heads of tables out'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand restart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand completion" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand completion" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand completion" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand completion" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand completion" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand completion" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand completion" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand man" -l out -d 'Writes the pages of all commands into this directory instead' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand man" -s k -l kubernetes -d 'Works on a Kubernetes cluster; that is the default' -r -f -a "true\t''
false\t''"
complete -c mtls -n "__fish_mtls_using_subcommand man" -l certs-dir -d 'Works on this directory of a self-hosted Dapr' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand man" -l kubeconfig -d 'The kubeconfig file to use' -r -F
complete -c mtls -n "__fish_mtls_using_subcommand man" -l context -d 'The kubeconfig context to use' -r
complete -c mtls -n "__fish_mtls_using_subcommand man" -s n -l namespace -d 'The namespace of Dapr\'s control plane, if there are several' -r
complete -c mtls -n "__fish_mtls_using_subcommand man" -l as -d 'The user to act as' -r
complete -c mtls -n "__fish_mtls_using_subcommand man" -l as-group -d 'A group to act as; may be repeated' -r
complete -c mtls -n "__fish_mtls_using_subcommand man" -l request-timeout -d 'How long one request to the API server may take; 0 sets no limit' -r
complete -c mtls -n "__fish_mtls_using_subcommand man" -l color -d 'When to use colour' -r -f -a "auto\t'On a terminal that can show it, unless `NO_COLOR` is set'
always\t'Always'
never\t'Never'"
complete -c mtls -n "__fish_mtls_using_subcommand man" -l log-as-json -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand man" -l runtime-path -d 'Accepted as `dapr` has it, without effect' -r
complete -c mtls -n "__fish_mtls_using_subcommand man" -l self-hosted -d 'Works on `~/.dapr/certs`'
complete -c mtls -n "__fish_mtls_using_subcommand man" -s q -l quiet -d 'Says less on stderr: errors and warnings only'
complete -c mtls -n "__fish_mtls_using_subcommand man" -s v -l verbose -d 'Says more on stderr; twice: every request'
complete -c mtls -n "__fish_mtls_using_subcommand man" -s y -l yes -d 'Answers every question with yes'
complete -c mtls -n "__fish_mtls_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "status" -d 'Shows the control plane, every layer of certificates, and what needs attention'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "expiry" -d 'Shows when the certificates of every layer expire, and who depends on them'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "export" -d 'Writes ca.crt, issuer.crt and issuer.key into a directory'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "renew-certificate" -d 'Renews root and issuer while every application goes on calling every other'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "prune" -d 'Retires trust anchors and bridges that nobody needs any more, where that is proven'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "restore" -d 'Puts the CA on record back after Sentry invented one of its own; both stay trusted, so that calls go on'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "restart" -d 'Restarts the control plane in the order that keeps the mesh working, then with `--apps` the applications'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "completion" -d 'Prints a completion script for a shell'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "man" -d 'Prints a manual page, or writes all of them into a directory'
complete -c mtls -n "__fish_mtls_using_subcommand help; and not __fish_seen_subcommand_from status expiry export renew-certificate prune restore restart completion man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
