#!/bin/sh
# demo.sh BOARD [MODEL]: the firmware built and run. MODEL: a .kde file, or a network or a run's folder, which
# is quantised first by pictures of FIRMWARE_DATA, named as for kd export --calibrate: CIFAR-10 if it is there.
# Without a MODEL a small network is trained for a minute, so that there is something to show.
set -eu
board=$1 model=${2:-} out=build/firmware/$1
here=examples/firmware
kd=${KD:-build/bin/kd}
records=${KD_DATA:-data}/cifar-10-batches-bin
data=${FIRMWARE_DATA:-}
if [ -z "$data" ] && [ -d "$records" ]; then data=cifar-10; fi
if [ -n "$model" ] && [ ! -e "$model" ]; then
    echo "firmware-demo: $model: no such file" >&2
    exit 1
fi
case $model in
"" | *.kde) ;;
*) [ -n "$data" ] || {
    echo "firmware-demo: $model is quantised by pictures of its training data, and $records is not there: FIRMWARE_DATA=NAME names others" >&2
    exit 1
} ;;
esac
mkdir -p "$out"

if [ -z "$model" ]; then
    model=build/firmware/small.kde
    if [ ! -s "$model" ]; then
        data=synthetic
        if [ -d "$records" ]; then data=cifar-10; fi
        echo "no network given: a small one is trained for a minute on $data"
        rm -rf build/firmware/small
        $kd train vgg8_bn,classes=10,image=32,convs=1-2-2-1,stages=16-32-64-64 --data $data --budget-seconds 60 --quiet \
            --batch 128 --lr 0.1 --schedule onecycle --out build/firmware/small
        $kd export build/firmware/small/model.safetensors --int8 --calibrate $data --edge "$model"
    fi
fi
case $model in
*.kde) ;;
*)
    $kd export "$model" --int8 --calibrate "$data" --edge "$out/network.kde"
    model=$out/network.kde ;;
esac
sh $here/build.sh "$model" "$board" "$out"
sh $here/run.sh "$board" "$out"
