#!/usr/bin/env bash
# Starts real applications under the tracer with the default rules, keeps them busy for
# LOAD_SECONDS (600 unless set), and ends with 1 if any of them gave a finding above "low".
# All run at the same time, on loopback only; `false-positives.sh redis nginx` runs those two.
source "$(dirname "$0")/lib.sh"

seconds=${LOAD_SECONDS:-600}
picket=${PICKET:-$dist/bin/picket}
sources=$root/scripts/false-positives

"$root/scripts/packages.sh" nginx-light redis-server redis-tools postgresql nodejs \
	default-jdk-headless python3 util-linux
[ -x "$picket" ] || die "there is no $picket: make build"
[ "$(id -u)" = 0 ] || die "PostgreSQL is started as its own user: run this as root"
postgres=$(dirname "$(find /usr/lib/postgresql -name initdb -path '*/bin/*' | sort -V | tail -1)")

work=$(mktemp -d)
chmod 0755 "$work"
pids=()
stop() {
	# Each leads its own session, so that nothing of it is left behind.
	for pid in "${pids[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
	wait
	rm -rf "$work"
}
trap stop EXIT

# start NAME PORT CMD...: in a folder of its own, once its port answers.
start() {
	local name=$1 port=$2
	shift 2
	cd "$work/$name"
	setsid nice "$picket" run --json --output "$work/$name.findings" --require-tracing -- "$@" \
		>"$work/$name.log" 2>&1 </dev/null &
	pids+=($!)
	for _ in $(seq 600); do
		(: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
		kill -0 "${pids[-1]}" 2>/dev/null || break
		sleep 0.2
	done
	tail -20 "$work/$name.log" >&2
	die "$name does not answer on port $port"
}

# busy NAME CMD...: its load, beside the others'.
loads=()
busy() {
	local name=$1
	shift
	cd "$work/$name"
	nice "$@" >"$work/$name.load" 2>&1 &
	loads+=("$!:$name")
}

start_nginx() {
	mkdir -p www logs
	head -c 20000 /dev/zero >www/index.html
	cat >nginx.conf <<-CONF
		daemon off;
		worker_processes 2;
		pid nginx.pid;
		error_log logs/error.log;
		events { worker_connections 64; }
		http {
		    access_log logs/access.log;
		    client_body_temp_path tmp; proxy_temp_path tmp-p; fastcgi_temp_path tmp-f;
		    uwsgi_temp_path tmp-u; scgi_temp_path tmp-s;
		    server { listen 127.0.0.1:18081; root www; gzip on; }
		}
	CONF
	start nginx 18081 /usr/sbin/nginx -p "$PWD" -c "$PWD/nginx.conf"
	# Reloads and log rotation belong to its life.
	busy nginx bash -c "python3 '$sources/load.py' 18081 $seconds & load=\$!
		while kill -0 \$load 2>/dev/null; do
			sleep 20
			mv logs/access.log logs/access.log.1 && kill -USR1 \$(cat nginx.pid)
			sleep 20
			kill -HUP \$(cat nginx.pid)
		done
		wait \$load"
}

start_redis() {
	start redis 18082 redis-server --bind 127.0.0.1 --port 18082 --appendonly yes --save "5 10"
	busy redis bash -c "end=\$((SECONDS + $seconds))
		while [ \$SECONDS -lt \$end ]; do
			redis-benchmark -p 18082 -q -n 500 -c 5 -t set,get,lpush,hset || exit 1
			redis-cli -p 18082 bgsave
			sleep 2
		done"
}

start_postgresql() {
	chown postgres .
	local user=(setpriv --reuid postgres --regid postgres --clear-groups env "HOME=$PWD")
	start postgresql 18083 sh -ec '
		"$@" "$0/initdb" --no-sync -D data -A trust -U postgres
		exec "$@" "$0/postgres" -D data -p 18083 -c listen_addresses=127.0.0.1 -k "$PWD"
	' "$postgres" "${user[@]}"
	busy postgresql bash -ec "
		# It answers before it takes connections.
		for _ in \$(seq 100); do
			'$postgres/pg_isready' -q -h 127.0.0.1 -p 18083 && break
			sleep 0.2
		done
		export PGHOST=127.0.0.1 PGPORT=18083 PGUSER=postgres
		'$postgres/createdb' load
		'$postgres/pgbench' -q -i -s 2 load
		'$postgres/pgbench' -T $seconds -R 30 -c 4 load
		'$postgres/psql' -c 'VACUUM ANALYZE; ' load"
}

start_node() {
	cp "$sources/server.js" .
	start node 18084 /usr/bin/node server.js 18084
	busy node python3 "$sources/load.py" 18084 "$seconds"
}

start_python() {
	start python 18085 /usr/bin/python3 "$sources/server.py" 18085
	busy python python3 "$sources/load.py" 18085 "$seconds"
}

start_jvm() {
	javac -d . "$sources/Server.java"
	start jvm 18086 java -Xmx64m -cp . Server 18086
	busy jvm python3 "$sources/load.py" 18086 "$seconds"
}

applications=(nginx redis postgresql node python jvm)
[ $# = 0 ] || applications=("$@")
for name in "${applications[@]}"; do
	mkdir "$work/$name"
	cd "$work/$name"
	say "starting $name"
	"start_$name"
done
say "load for $seconds s"
failed=0
for load in "${loads[@]}"; do
	wait "${load%%:*}" || {
		echo "the load of ${load#*:} failed:"
		tail -5 "$work/${load#*:}.load"
		failed=1
	}
done
for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
wait "${pids[@]}" || true
cd "$root"
for name in "${applications[@]}"; do
	python3 - "$name" "$work/$name.findings" <<-'PYTHON' || failed=1
		import collections, json, sys
		name, path = sys.argv[1:]
		found = collections.Counter()
		worst = []
		for line in open(path):
		    line = json.loads(line)
		    if "finding" not in line:
		        continue
		    severity = line["finding"]["severity"]
		    found[severity] += 1
		    if severity not in ("info", "low"):
		        worst.append(f'{line["agent"]["rule_id"]}: {line.get("process", {}).get("args")}')
		print(f"{name}: findings {dict(found)}" if found else f"{name}: no finding")
		for one in worst[:20]:
		    print("   ", one)
		sys.exit(bool(worst))
	PYTHON
done
[ $failed = 0 ] || die "false positives, or an application that did not work under the tracer"
