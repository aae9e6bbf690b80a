# shellcheck shell=bash
# Web servers that are not ours, for shell tests: sourced behind lib.sh.
#
#   configure_nginx TEXT   writes $TMPDIR/nginx.conf, for a user's own nginx, with this text for http
#   start_nginx FOLDER     sets $nginx to its URL, with a slash at its end; each request is a line of $TMPDIR/nginx/access.log
#   start_python FOLDER    Python's own, which ignores ranges: $python; its log is $TMPDIR/python.log

configure_nginx() {
	mkdir -p "$TMPDIR/nginx"
	cat >"$TMPDIR/nginx.conf" <<END
daemon off;
master_process off;
pid $TMPDIR/nginx/pid;
error_log $TMPDIR/nginx/error.log;
events { }
http {
	client_body_temp_path $TMPDIR/nginx/1;
	proxy_temp_path $TMPDIR/nginx/2;
	fastcgi_temp_path $TMPDIR/nginx/3;
	uwsgi_temp_path $TMPDIR/nginx/4;
	scgi_temp_path $TMPDIR/nginx/5;
	$1
}
END
}

start_nginx() {
	local port
	port=$(free_port)
	configure_nginx "access_log $TMPDIR/nginx/access.log; sendfile on; server { listen 127.0.0.1:$port; root $1; }"
	start_process nginx nginx -e "$TMPDIR/nginx/error.log" -c "$TMPDIR/nginx.conf" -p "$TMPDIR/nginx"
	wait_for_port "$port" || bail_out "nginx starts"
	# shellcheck disable=SC2034 # for the tests
	nginx=http://127.0.0.1:$port/
}

start_python() {
	local port
	port=$(free_port)
	start_process python python3 -m http.server --bind 127.0.0.1 --directory "$1" "$port"
	wait_for_port "$port" || bail_out "http.server starts"
	# shellcheck disable=SC2034
	python=http://127.0.0.1:$port/
}
