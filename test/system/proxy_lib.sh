# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# sluice-proxy between Linux peers: three namespaces, two veth pairs, nginx behind.
#
#	$cli: curl, wrk, openssl on sl1  <-- veth -->  sl0 $srv: sluice-proxy sl2  <-- veth -->  sl3 $back: nginx
#
# shellcheck source=test/system/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

back=$prefix-b
out4=10.79.0.1
out6=fd79::1
nginx4=10.79.0.2
nginx6=fd79::2

network() {
	ns_add "$srv" off
	ns_add "$cli" on
	ns_add "$back" on
	veth_add "$srv" sl0 "$cli" sl1
	veth_add "$srv" sl2 "$back" sl3
	ip -n "$cli" addr add "$theirs4/24" dev sl1
	ip -n "$cli" addr add "$theirs6/64" dev sl1 nodad
	ip -n "$back" addr add "$nginx4/24" dev sl3
	ip -n "$back" addr add "$nginx6/64" dev sl3 nodad
	# nginx closes first, more often in a minute than there are places for TIME_WAIT: one that gets none is forgotten,
	# and resets who has not closed yet.
	ip netns exec "$back" sysctl -qw net.ipv4.tcp_max_tw_buckets=4000000
}

# stack_sections: the interfaces of the proxy, for its configuration file.
stack_sections() {
	cat <<-END
	[interface in]
	port = 0
	address = $ours4/24, $ours6/64
	[interface out]
	port = 1
	address = $out4/24, 10.79.0.10/24, 10.79.0.11/24, 10.79.0.12/24, 10.79.0.13/24, $out6/64
	END
}

# telemetry COMMAND: the answer of the proxy, JSON in one line.
telemetry() {
	python3 - "/run/dpdk/$prefix/dpdk_telemetry.v2" "$1" <<-'END'
	import socket, sys
	s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
	s.settimeout(10)
	s.connect(sys.argv[1])
	s.recv(1024)
	s.send(sys.argv[2].encode())
	print(s.recv(16384).decode())
	END
}

# proxy_up PROGRAM OPTION...: start it with $tmp/proxy.ini on $lcores (1) lcores; $started is its pid.
proxy_up() {
	local program=$1 more= map
	shift
	map=0@$first_cpu
	if [ "${lcores:-1}" = 2 ]; then
		map+=,1@$last_cpu
		[ "$link" != af_packet ] || more=,qpairs=2
	fi
	[ "$link" != af_xdp ] || more+=,busy_budget=0
	start_in "$srv" "$tmp" proxy "$program" --no-huge --no-pci --no-shconf -m 768 --file-prefix "$prefix" \
	    --lcores "$map" --vdev "net_${link}0,iface=sl0$more" --vdev "net_${link}1,iface=sl2$more" \
	    -- --config "$tmp/proxy.ini" --port-id 0 --port-id 1 --access-log "$tmp/access" "$@"
	await proxy "$started" 20 'sluice-proxy: ready'
}

# nginx_up: one process. It serves and takes files of $tmp/www on 8080 and 8081, says whom a PROXY header names on 8082,
# and ends TLS for one.example and two.example on 8443 and 8444.
nginx_up() {
	local name
	mkdir -p "$tmp/nginx" "$tmp/www/up"
	for name in one two; do
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$name.example" \
		    -keyout "$tmp/nginx/$name.key" -out "$tmp/nginx/$name.pem" 2>/dev/null
	done
	cat >"$tmp/nginx/nginx.conf" <<-END
	user root;
	daemon off;
	master_process off;
	pid $tmp/nginx/pid;
	error_log stderr warn;
	worker_rlimit_nofile 19000;
	events { worker_connections 18000; }
	http {
		access_log off;
		sendfile on;
		keepalive_requests 1000000000;
		keepalive_timeout 600s;
		client_max_body_size 0;
		client_body_temp_path $tmp/nginx/body;
		proxy_temp_path $tmp/nginx/proxy;
		fastcgi_temp_path $tmp/nginx/fastcgi;
		uwsgi_temp_path $tmp/nginx/uwsgi;
		scgi_temp_path $tmp/nginx/scgi;
		default_type text/plain;
		root $tmp/www;
		dav_methods PUT;
		server { listen 8080 backlog=8192; listen [::]:8080 backlog=8192; }
		server { listen 8081 backlog=8192; listen [::]:8081 backlog=8192; }
		server {
			listen 8082 proxy_protocol;
			listen [::]:8082 proxy_protocol;
			location / { return 200 "\$proxy_protocol_addr \$proxy_protocol_port \$proxy_protocol_server_port\n"; }
		}
	$(for name in one two; do
		cat <<-END2
		server {
			listen $([ $name = one ] && echo 8443 || echo 8444) ssl;
			ssl_certificate $tmp/nginx/$name.pem;
			ssl_certificate_key $tmp/nginx/$name.key;
			location / { return 200 "$name\n"; }
		}
		END2
	done)
	}
	END
	start_in "$back" "$tmp" nginx "${nginx_cpu[@]}" /usr/sbin/nginx -p "$tmp/nginx" -c "$tmp/nginx/nginx.conf" -e stderr
	nginx_pid=$started
	wait_until 15 ip netns exec "$back" curl -sf -o /dev/null "http://$nginx4:8080/small" || die "nginx does not answer"
}

in_cli() {
	ip netns exec "$cli" "$@"
}

get() {
	in_cli curl -gsf --connect-timeout 5 --max-time 300 "$@"
}

# counter NAME: of the proxy now.
counter() {
	local lines
	lines=$(wc -l <"$tmp/proxy.log")
	kill -USR1 "$proxy_pid"
	wait_until 5 eval "tail -n +$((lines + 1)) '$tmp/proxy.log' | grep -q '^backend \|^listener '" || die "no answer to SIGUSR1"
	tail -n "+$((lines + 1))" "$tmp/proxy.log" | awk -v n="$1" '$0 ~ "^" n " " { v = $NF } END { print v + 0 }'
}

# reload: SIGHUP, and until it has been applied.
reload() {
	local before
	before=$(grep -c 'proxy.ini applied' "$tmp/proxy.log" || true)
	kill -HUP "$proxy_pid"
	wait_until 10 eval "[ \$(grep -c 'proxy.ini applied' '$tmp/proxy.log') -gt $before ]" || die "the reload was not applied"
}

# wrk_ok NAME: the run that wrote $tmp/NAME.log had no error.
wrk_ok() {
	! grep -E 'Socket errors|Non-2xx' "$tmp/$1.log" || die "wrk saw errors"
	grep -q '^Requests/sec' "$tmp/$1.log" || die "wrk measured nothing"
}
