#!/usr/bin/env bash
# Runs a Ceph of one monitor, one OSD in memory and one radosgw, to prove the S3 store on until it is
# interrupted. Nothing outlives it.
#
#     apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
#     tests/stores/radosgw.sh [PORT]
#     AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test uv run pytest tests/stores -k s3 \
#         --s3-endpoint http://127.0.0.1:5604
set -euo pipefail
port=${1:-5604}
folder=$(mktemp -d)
export CEPH_CONF=$folder/ceph.conf
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$folder"' EXIT
trap 'exit 0' INT TERM

fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon host = v1:127.0.0.1:$((port + 1))
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc  # else radosgw insists on a secure connection, which needs keys
ms bind msgr2 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
mon max pg per osd = 2000
mon data avail crit = 1
mon data = $folder/mon
osd data = $folder/osd
run dir = $folder
keyring = $folder/keyring
admin socket = $folder/\$name.\$pid.asok
log file = $folder/\$name.log
rgw frontends = beast endpoint=127.0.0.1:$port
CONF
mkdir "$folder/mon" "$folder/osd"
ceph-authtool --create-keyring "$folder/keyring" --gen-key -n client.admin \
    --cap mon 'allow *' --cap osd 'allow *' >/dev/null
ceph-authtool "$folder/keyring" --gen-key -n mon. --cap mon 'allow *'
monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$((port + 1))]" "$folder/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$folder/monmap"
ceph-mon -i a -f 2>/dev/null &
uuid=$(cat /proc/sys/kernel/random/uuid)
id=$(ceph osd new "$uuid")
ceph-osd -i "$id" --mkfs --osd-uuid "$uuid" 2>/dev/null
ceph-osd -i "$id" -f 2>/dev/null &
ceph osd crush add "osd.$id" 1 host=here root=default 2>/dev/null
radosgw -n client.admin -f 2>/dev/null &
radosgw-admin user create --uid=test --display-name=test --access-key=test --secret-key=test >/dev/null
until curl --silent --output /dev/null "http://127.0.0.1:$port/"; do sleep 1; done
echo "http://127.0.0.1:$port is ready"
wait
